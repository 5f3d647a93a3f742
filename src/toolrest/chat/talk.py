"""Asks a policy what the user types, line by line."""

from __future__ import annotations

from toolrest.chat.session import Session
from toolrest.chat.view import TerminalView
from toolrest.errors import OUT_OF_MEMORY, InputError, reason
from toolrest.io.redaction import first_line


def talk(session: Session, view: TerminalView) -> None:
    """Ask each line that is typed, until there is no more.

    In a terminal a request that is interrupted, or that fails, is kept: an empty line asks it
    again. Piped, nobody would type one, so what is raised ends the chat.

    Raises:
        KeyboardInterrupt: while the user types a request, or at any time where the input is piped.
    """
    while True:
        try:
            text = view.read("you> ").strip()
            if view.interactive:
                text = text or session.unanswered or ""
            if text:
                _ask(session, view, text)
        except EOFError:
            return


def _ask(session: Session, view: TerminalView, text: str) -> None:
    try:
        session.ask(text)
    except EOFError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # a model may raise anything
        if not view.interactive:
            if any(text in str(error) for text in OUT_OF_MEMORY):
                raise InputError(
                    f"{first_line(error)}; a smaller --max-tokens needs less"
                ) from error
            raise
        stopped = isinstance(error, KeyboardInterrupt)
        view.note("stopped" if stopped else f"no answer ({reason(error)})")
    if view.interactive and session.unanswered is not None:
        view.note("your request is kept; an empty line asks it again")
