"""What a check says, and how one that fails unexpectedly is a line like any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from toolrest.errors import InputError
from toolrest.io.redaction import first_line


class Status(StrEnum):
    """How a check came out."""

    OK = "ok"
    """As it should be."""
    NOTE = "note"
    """Good to know; nothing is to be done."""
    WARNING = "warning"
    """A run would start, and may not be what was meant."""
    UNKNOWN = "unknown"
    """It could not be checked."""
    PROBLEM = "problem"
    """It would stop a run."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    """What it is."""
    status: Status
    """How it came out."""
    found: str
    """What was found."""
    mend: str = ""
    """What to do; empty where there is nothing to do, or `found` says it."""


@dataclass(frozen=True)
class Section:
    """Checks of one kind."""

    name: str
    """What they look at."""
    checks: tuple[Check, ...]
    """In order."""


def guarded(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    """The checks that `look` makes, whatever happens in it.

    Returns:
        Its checks; one problem called `name` where it raises an `InputError`, one that could not be
        checked where it raises anything else.
    """
    try:
        return look()
    except InputError as error:
        return [Check(name, Status.PROBLEM, str(error))]
    except Exception as error:
        return [Check(name, Status.UNKNOWN, f"could not be checked ({described(error)})")]


def described(error: Exception) -> str:
    """An error's kind and the first line of its text, at most 200 characters."""
    kind, said = type(error).__name__, first_line(error)
    text = kind if said == kind else f"{kind}: {said}"
    return text if len(text) <= 200 else text[:200] + ".."
