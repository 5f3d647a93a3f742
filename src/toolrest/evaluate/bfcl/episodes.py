"""BFCL's items as episodes: one reply a single-turn item, a dialogue with simulators else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from toolrest.core.dialects import Dialect, Reply, ToolCall
from toolrest.data.dialogue import Action, Dialogue, Observation, Tool, Turn, UserTurn
from toolrest.data.wording import Prompt, Thoughts, word
from toolrest.evaluate.bfcl.official import OfficialBFCL, OfficialFailure
from toolrest.evaluate.bfcl.syntax import in_syntax
from toolrest.evaluate.bfcl.tools import language, to_tools
from toolrest.evaluate.episode import Answer, Episode, Outcome, read, status_of

MOST_STEPS = 20
"""Calls are executed this often a turn; after one more the dialogue is broken off, as in BFCL."""
MOST_LEVELS = 100
"""Of lists and objects inside each other in a value."""
MORE_FUNCTIONS = "I have updated some more functions you can choose from. What about now?"
"""What the user says where functions are added, in BFCL's words."""

Call = dict[str, dict[str, Any]]
"""{name: {parameter: value}}, as the official checker takes it."""


@dataclass(frozen=True)
class Speech:
    """How prompts are written for a policy."""

    style: str
    """Wording of the prompt; see `toolrest.data.wording`."""
    dialect: Dialect
    """How its replies are read."""
    think: bool = False
    """Whether a prompt in plain words asks for a thought."""
    thoughts: Thoughts = "placeholder"
    """What is kept of the thoughts of earlier replies."""

    def prompt(self, dialogue: Dialogue) -> Prompt:
        """The prompt of a dialogue."""
        return word(dialogue, self.style, self.dialect, self.thoughts, think=self.think)


def episodes(official: OfficialBFCL, category: str, speech: Speech) -> list[Episode]:
    """The episodes of a category, in the benchmark's order."""
    items = official.ask("load", category=category)
    gold = official.ask("gold", category=category)
    made: list[Episode] = []
    for item in items:
        kind = MultiTurn if "involved_classes" in item else SingleTurn
        made.append(kind(official, category, speech, item, gold[item["id"]]))
    return made


def calls_of(reply: Reply) -> list[Call]:
    """A reply's calls; none where one of them could not be read, which the official decoders
    count as no call. A value that is nested too deeply to be worked with becomes a text.
    """
    if not reply.calls_intact:
        return []
    return [{c.name: {k: _shallow(v) for k, v in c.parameters.items()}} for c in reply.calls]


def _shallow(value: Any) -> Any:
    """The value, or a wrong text in its place if it is nested over `MOST_LEVELS` deep."""
    levels, inside = 0, [value]
    while inside := [
        item
        for each in inside
        if isinstance(each, list | dict)
        for item in (each.values() if isinstance(each, dict) else each)
    ]:
        levels += 1
        if levels > MOST_LEVELS:
            return "(nested too deeply)"
    return value


@dataclass
class SingleTurn:
    """One prompt, one reply."""

    official: OfficialBFCL
    category: str
    speech: Speech
    item: dict[str, Any]
    gold: Any
    calls: list[Call] | None = None
    """Of the reply, once it is there."""
    missing: str = ""
    """Why there is no reply; see `Answer.missing`."""
    _text: str = ""
    _status: str = ""
    _tokens: tuple[int, ...] = ()

    @property
    def identity(self) -> str:
        """See `Episode.identity`."""
        return str(self.item["id"])

    def request(self) -> Prompt | None:
        """See `Episode.request`."""
        if self.calls is not None:
            return None
        turns, system = _said(self.item["question"][0])
        return self.speech.prompt(Dialogue(self._tools(), turns, system))

    def _tools(self) -> tuple[Tool, ...]:
        return to_tools(self.item["function"], self.category)

    def receive(self, answer: Answer) -> None:
        """See `Episode.receive`."""
        reply = read(answer, self.speech.dialect, self._tools())
        self.calls = self._in_syntax(calls_of(reply))
        self.missing = answer.missing
        self._text = answer.text
        self._status = status_of(answer, reply)
        self._tokens = () if answer.tokens is None else (answer.tokens,)

    def _in_syntax(self, calls: list[Call]) -> list[Call]:
        spoken = language(self.category)
        if spoken is None:
            return calls
        known = {f["name"]: f["parameters"]["properties"] for f in self.item["function"]}
        return [
            {name: in_syntax(values, known.get(name, {}), spoken)}
            for call in calls
            for name, values in call.items()
        ]

    def outcome(self) -> Outcome:
        """See `Episode.outcome`."""
        calls = self.calls or []
        correct, check, detail = self._score(calls)
        return Outcome(
            identity=self.identity,
            category=self.category,
            correct=correct,
            check=check,
            expected=self._expected(),
            got={"calls": calls, "text": self._text, "detail": detail},
            statuses=(self._status,),
            tokens=self._tokens,
        )

    def _expected(self) -> Any:
        if self.gold is not None:
            return self.gold
        return "no call" if "irrelevance" in self.category else "any call"

    def _score(self, calls: list[Call]) -> tuple[bool, str, Any]:
        if self.missing:
            return False, self.missing, None
        if "irrelevance" in self.category:
            return (True, "", None) if not calls else (False, "called", None)
        if not calls:
            return False, "no call", None
        if "relevance" in self.category:
            return True, "", None
        try:
            found = self.official.ask(
                "check", category=self.category, identity=self.identity, calls=calls
            )
        except OfficialFailure as failure:
            return False, "checker failed", str(failure)
        return found["valid"], found["type"] if not found["valid"] else "", found["error"]


@dataclass
class MultiTurn:
    """A dialogue of several turns, in each of which the policy calls until it is done."""

    official: OfficialBFCL
    category: str
    speech: Speech
    item: dict[str, Any]
    gold: Any
    played: list[list[list[Call]]] = field(default_factory=list)
    """Calls by turn and step, of the turns that are over."""
    _steps: list[list[Call]] = field(default_factory=list)
    _turns: list[Turn] = field(default_factory=list)
    _system: str | None = None
    _functions: list[dict[str, Any]] = field(default_factory=list)
    _texts: list[str] = field(default_factory=list)
    _statuses: list[str] = field(default_factory=list)
    _tokens: list[int] = field(default_factory=list)
    _broken_off: str = ""
    _at: int = -1

    def __post_init__(self) -> None:
        self._functions = list(self.item["function"])
        self._next_turn()

    @property
    def identity(self) -> str:
        """See `Episode.identity`."""
        return str(self.item["id"])

    def request(self) -> Prompt | None:
        """See `Episode.request`."""
        if self._broken_off or self._at >= len(self.item["question"]):
            return None
        dialogue = Dialogue(self._tools(), tuple(self._turns), self._system)
        return self.speech.prompt(dialogue)

    def _tools(self) -> tuple[Tool, ...]:
        return to_tools(self._functions, self.category)

    def receive(self, answer: Answer) -> None:
        """See `Episode.receive`."""
        reply = read(answer, self.speech.dialect, self._tools())
        calls = calls_of(reply)
        self._texts.append(answer.text)
        self._statuses.append(status_of(answer, reply))
        if answer.missing:
            self._broken_off = answer.missing
            return
        if answer.tokens is not None:
            self._tokens.append(answer.tokens)
        said = reply.response or ("" if calls else answer.text)
        self._turns.append(Action(_actions(calls), said, reply.thought))
        if not calls:
            self._end_turn()
            return
        self._steps.append(calls)
        try:
            results = self.official.ask(
                "execute",
                category=self.category,
                identity=self.identity,
                steps=[*(step for turn in self.played for step in turn), *self._steps],
            )
        except OfficialFailure as failure:
            self._broken_off = f"simulator failed: {failure}"
            return
        names = [call.name for call in _actions(calls)]
        self._turns.append(Observation(tuple(zip(names, results, strict=True))))
        if len(self._steps) > MOST_STEPS:
            self._broken_off = "too many steps"
            self.played.append(self._steps)

    def _end_turn(self) -> None:
        self.played.append(self._steps)
        self._steps = []
        self._next_turn()

    def _next_turn(self) -> None:
        self._at += 1
        if self._at >= len(self.item["question"]):
            return
        turns, system = _said(self.item["question"][self._at])
        self._system = self._system or system
        more = self.item["missed_function"].get(str(self._at))
        if more is not None:
            self._functions += more
            turns = (UserTurn(MORE_FUNCTIONS),)
        self._turns += turns

    def outcome(self) -> Outcome:
        """See `Episode.outcome`."""
        correct, check, detail = self._score()
        return Outcome(
            identity=self.identity,
            category=self.category,
            correct=correct,
            check=check,
            expected=self.gold,
            got={"calls": self.played, "text": self._texts, "detail": detail},
            statuses=tuple(self._statuses),
            tokens=tuple(self._tokens),
        )

    def _score(self) -> tuple[bool, str, Any]:
        if self._broken_off.startswith("simulator"):
            return False, "simulator failed", self._broken_off
        if self._broken_off in ("too_long", "unreadable"):
            return False, self._broken_off, None
        try:
            found = self.official.ask(
                "check_turns", category=self.category, identity=self.identity, turns=self.played
            )
        except OfficialFailure as failure:
            return False, "checker failed", str(failure)
        if found["valid"]:
            return True, "", None
        return False, self._broken_off or found["type"], found["error"]


def _actions(calls: list[Call]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(name, values) for call in calls for name, values in call.items())


def _said(messages: list[dict[str, str]]) -> tuple[tuple[Turn, ...], str | None]:
    """The user's (and, in a few items, the assistant's) messages, and the system's."""
    system = "\n".join(m["content"] for m in messages if m["role"] == "system") or None
    turns = tuple(
        UserTurn(m["content"]) if m["role"] == "user" else Action(response=m["content"])
        for m in messages
        if m["role"] != "system"
    )
    return turns, system
