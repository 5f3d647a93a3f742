"""A dialogue with a policy: the user asks, the policy calls tools until it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from toolrest.chat.policy import ChatPolicy, Said, TooLongDialogue
from toolrest.chat.tools import ChatTool, result_of
from toolrest.core.dialects import ParseStatus, Reply, ToolCall
from toolrest.data.dialogue import Action, Dialogue, Observation, Turn, UserTurn

MOST_ROUNDS = 8
"""Replies with calls to one request; then it is the user's turn again."""
TOOL_SECONDS = 30.0
"""A function that takes longer is stopped, unless the user says otherwise."""
_DEFECTS = {
    ParseStatus.EMPTY: "it is empty",
    ParseStatus.STRAY_TEXT: "there is text in no block",
    ParseStatus.UNCLOSED: "a block does not end",
    ParseStatus.BAD_CALL: "a call is no valid JSON, or lacks a name or parameters",
}

_CUT = "it was cut at the most tokens"


class View(Protocol):
    """Who is shown the dialogue, and types what is asked for."""

    def said(self, said: Said) -> None:
        """A reply came."""
        ...

    def result(self, call: ToolCall, text: str) -> None:
        """A call's result was computed."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should know."""
        ...

    def type_result(self, call: ToolCall) -> str:
        """The result that the user types.

        Raises:
            EOFError: the user has gone.
        """
        ...


@dataclass
class Session:
    """A dialogue so far."""

    policy: ChatPolicy
    """Who answers."""
    tools: Mapping[str, ChatTool]
    """What it may call, by name."""
    view: View
    """Who is shown it."""
    max_tokens: int
    """Most tokens of a reply."""
    temperature: float | None = None
    """None: greedy."""
    seconds: float = TOOL_SECONDS
    """A function that takes longer is stopped."""
    system: str | None = None
    """Instructions before everything else."""
    turns: list[Turn] = field(default_factory=list)
    """What was said."""
    unanswered: str | None = None
    """The last request, where it got no answer."""

    def ask(self, text: str) -> None:
        """Say something to the policy, and go on until it calls no more tools.

        Whatever is raised on the way (an interrupt, memory that ran out) leaves the dialogue as it
        was before, and the request in `unanswered`.
        """
        before = list(self.turns)
        self.unanswered = text
        try:
            self._ask(text)
        except TooLongDialogue as error:
            self.turns.clear()
            self.unanswered = None  # it would be too long again
            self.view.note(f"the dialogue is too long ({error}); a new one begins")
        except BaseException:
            self.turns[:] = before
            raise
        else:
            self.unanswered = None

    def _ask(self, text: str) -> None:
        if self.policy.single:
            self.turns.clear()
        self.turns.append(UserTurn(text))
        for _ in range(MOST_ROUNDS):
            said = self._answer()
            self.view.said(said)
            reply = said.reply
            if not reply.calls or not reply.calls_intact:
                self.turns.append(Action(response=answer_of(said)))
                return
            self.turns.append(Action(reply.calls, reply.response, reply.thought))
            self.turns.append(Observation(tuple(self._result(call) for call in reply.calls)))
            if self.policy.single:
                self.view.note("this policy was trained on single requests; ask the next one")
                return
        self.view.note(f"{MOST_ROUNDS} replies with calls and no answer; it is your turn")

    def _answer(self) -> Said:
        """The policy's reply. In a dialogue that has become too long, what was said before the last
        request is left out.

        Raises:
            TooLongDialogue: the request and what came of it are too long by themselves.
        """
        try:
            return self.policy.answer(self._dialogue(), self.temperature, self.max_tokens)
        except TooLongDialogue as error:
            at = max(n for n, turn in enumerate(self.turns) if isinstance(turn, UserTurn))
            if at == 0:
                raise
            del self.turns[:at]
            self.view.note(f"the dialogue is too long ({error}); a new one begins with the request")
            return self.policy.answer(self._dialogue(), self.temperature, self.max_tokens)

    def _result(self, call: ToolCall) -> tuple[str, str]:
        text = result_of(call, self.tools, self.seconds)
        if text is None:
            return call.name, self.view.type_result(call)
        self.view.result(call, text)
        return call.name, text

    def _dialogue(self) -> Dialogue:
        tools = tuple(each.tool for each in self.tools.values())
        return Dialogue(tools, tuple(self.turns), self.system)


def answer_of(said: Said) -> str:
    """What a reply without calls tells the user: its response, or all of it where it has none."""
    return said.reply.response or said.text.strip()


def defect_of(said: Said) -> str | None:
    """Why a reply is broken, in words; None where it is whole."""
    reply: Reply = said.reply
    if reply.status is not ParseStatus.OK:
        where = "" if reply.position is None else f", at character {reply.position}"
        return f"{_DEFECTS[reply.status]}{where}" + (f" ({_CUT})" if said.cut else "")
    if said.cut:
        return _CUT
    return None if reply.calls or reply.response else "it neither calls a tool nor answers"
