"""A dialogue of K actions -> K samples, each with the whole history and one action to learn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from toolrest.core.dialects import Dialect, get_dialect
from toolrest.data.dialogue import Action, Dialogue, UserTurn
from toolrest.data.record import Record
from toolrest.data.rows import BadRow
from toolrest.data.sample import Sample
from toolrest.data.wording import Thoughts, openai_tool, word
from toolrest.errors import InputError

Tools = tuple[dict[str, Any], ...]

_SENTENCE_END = re.compile(r"(?<=[.!?])(?=\s)|[。！？]|\n")  # noqa: RUF001


@dataclass(frozen=True)
class Rendering:
    """How samples are written for a policy: dialect, prompt style, thoughts."""

    dialect: str = "rlla"
    """Format of the actions."""
    style: str = "rlla"
    """Prompt style; see `toolrest.data.wording`."""
    thoughts: Thoughts = "placeholder"
    """How thoughts of earlier actions are kept."""
    think: bool = True
    """Whether a right reply has a thought: the ground truth then has an empty one."""
    thought_sentences: int | None = None
    """How many sentences of a demonstration's thought are kept, from its start; None: all."""
    open: tuple[str, ...] = ()
    """Those of the settings above that stand in for what a policy's chat template settles, where
    none was looked at: rows that were prepared with others are taken.
    """

    @property
    def writer(self) -> Dialect:
        """The dialect itself."""
        return get_dialect(self.dialect)


def steps(dialogue: Dialogue) -> Iterator[tuple[Dialogue, Action]]:
    """(history, ground truth) of every action, in order (ResT, section 4: decomposition).

    Every action is supervised exactly once, and its history is the exact prefix. What is done
    before the user says anything, such as a greeting, answers nothing and is history alone, as is
    what the data leaves out of training.
    """
    asked = bool(dialogue.begins)
    for at, turn in enumerate(dialogue.turns):
        asked = asked or isinstance(turn, UserTurn)
        if isinstance(turn, Action) and turn.learned and asked:
            yield replace(dialogue, turns=dialogue.turns[:at]), turn


def to_samples(record: Record, rendering: Rendering, source: str, identity: str) -> list[Sample]:
    """The samples of a record: one an action, or the last one alone where the source has a prompt
    and a reply to it.

    Raises:
        BadRow: no action that answers the user, or one that the dialect cannot write.
    """
    if record.prompt is not None or record.last_alone:
        turns = record.dialogue.turns
        pairs = [(replace(record.dialogue, turns=turns[:-1]), record.last)]
    else:
        pairs = list(steps(record.dialogue))
    if not pairs:
        raise BadRow("no action to learn from: none that counts follows what the user said")
    made = []
    for number, (known, action) in enumerate(pairs):
        row = identity if len(pairs) == 1 else f"{identity}.{number}"
        prompt, tools = _prompt(record, known, rendering)
        declared = _declared(known, rendering)
        truth = _truth(record, action, rendering, declared)
        made.append(
            Sample(
                prompt=prompt,
                ground_truth=truth,
                source=source,
                identity=row,
                demonstration=_demonstration(record, action, rendering, declared, truth),
                tools=tools,
                true_names=record.true_names,
                declared=declared,
                group=f"{source}:{identity}",
                worded=_worded(record, known, action, rendering),
                row=row,
            )
        )
    return made


def _worded(
    record: Record, known: Dialogue, action: Action, rendering: Rendering
) -> dict[str, Any]:
    """The settings that a sample follows from; with others of any of them it may be another."""
    found: dict[str, Any] = {"think": rendering.think}
    if record.prompt is None or not record.as_it_is:
        found["style"] = rendering.style
        own = record.prompt is not None and rendering.style == "rlla"
        earlier = [turn for turn in known.turns if isinstance(turn, Action)]
        told = earlier if rendering.style == "rlla" else [each for each in earlier if each.thought]
        if told and not own:
            found["thoughts"] = rendering.thoughts
    if rendering.think and action.thought is not None:
        found["thought_sentences"] = rendering.thought_sentences
    return found


def _prompt(record: Record, known: Dialogue, rendering: Rendering) -> tuple[tuple, tuple | None]:
    if record.prompt is not None and (record.as_it_is or rendering.style == "rlla"):
        return record.prompt, None
    made = word(known, rendering.style, rendering.writer, rendering.thoughts, think=rendering.think)
    return tuple(made.messages), None if made.tools is None else tuple(made.tools)


def _declared(dialogue: Dialogue, rendering: Rendering) -> Tools:
    """The tools, where the dialect has to know the types that they declare."""
    if not rendering.writer.reads_types:
        return ()
    return tuple(openai_tool(tool) for tool in dialogue.tools)


def _truth(record: Record, action: Action, rendering: Rendering, declared: Tools) -> str:
    if record.truth is not None and rendering.dialect == "rlla":
        return record.truth
    return _write(action, "" if rendering.think else None, rendering, declared)


def _demonstration(
    record: Record, action: Action, rendering: Rendering, declared: Tools, truth: str
) -> str | None:
    """A right reply with its thought; None where the source has no thought and one is asked for,
    or one that the dialect cannot express.
    """
    whole = rendering.thought_sentences is None
    if record.demonstration is not None and rendering.dialect == "rlla" and whole:
        return record.demonstration
    if not rendering.think:
        taken = record.truth is not None and rendering.dialect == "rlla"
        return _write(action, None, rendering, declared) if taken else truth
    if action.thought is None:
        return None
    thought = first_sentences(action.thought, rendering.thought_sentences)
    try:
        return _write(action, thought, rendering, declared)
    except BadRow:
        return None


def first_sentences(text: str, count: int | None) -> str:
    """The first sentences of a text; a line's end ends one too. None: the text."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text.strip())]
    return text if count is None or count > len(ends) else text.strip()[: ends[count - 1]].rstrip()


def _write(action: Action, thought: str | None, rendering: Rendering, declared: Tools) -> str:
    try:
        return rendering.writer.render(
            thought=thought, calls=action.calls, response=action.response, tools=declared
        )
    except InputError as error:
        raise BadRow(str(error)) from error
