"""API-Bank from its three processed files: a soft score, a strict one, the released scorer's."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolrest.core.dialects import Dialect, ToolCall
from toolrest.data.dialogue import Tool
from toolrest.data.formats import apibank
from toolrest.data.rows import BadRow
from toolrest.data.wording import Prompt, Thoughts, word
from toolrest.errors import InputError, kind_of
from toolrest.evaluate.episode import Answer, Episode, Outcome, read, status_of
from toolrest.io.files import read_json

LEVELS = {f"level-{level}": f"level-{level}-api_processed.json" for level in (1, 2, 3)}
"""The file of each level."""
_TAG = "<tool_call>"


def episodes(
    folder: Path,
    level: str,
    dialect: Dialect,
    style: str = "rlla",
    *,
    think: bool = False,
    thoughts: Thoughts = "placeholder",
) -> list[Episode]:
    """The episodes of a level.

    Args:
        style: `rlla` leaves the files' prompts as they are; another words them anew.
        think: whether a prompt in plain words asks for a thought.
        thoughts: what is kept of the thoughts of earlier actions.

    Raises:
        InputError: no such file, or a row that is not one of API-Bank's, by its number.
    """
    path = folder / LEVELS[level]
    try:
        rows = read_json(path)
    except OSError as error:
        raise InputError(
            f"--data {folder}: {path.name} cannot be read ({error.strerror}); the folder must hold "
            f"{', '.join(LEVELS.values())}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected a list of rows, got {kind_of(rows)}")
    made: list[Episode] = []
    for number, row in enumerate(rows):
        try:
            if not isinstance(row, dict):
                raise BadRow(f"{kind_of(row)}, not an object")
            prompt, gold, tools = _read(row, dialect, style, think, thoughts)
        except BadRow as bad:
            raise InputError(f"{path}: row {number}: {bad}") from bad
        made.append(APIBankEpisode(f"{level}/{number}", level, prompt, gold, dialect, tools))
    return made


def _read(
    row: dict[str, Any], dialect: Dialect, style: str, think: bool, thoughts: Thoughts
) -> tuple[Prompt, ToolCall, tuple[Tool, ...]]:
    record = apibank.read(row)
    (gold, *more) = record.last.calls
    if more:
        raise BadRow(f"its answer has {len(more) + 1} calls, not one")
    if style == "rlla" and record.prompt is not None:
        return Prompt(list(record.prompt)), gold, record.dialogue.tools
    known = replace(record.dialogue, turns=record.dialogue.turns[:-1])
    return word(known, style, dialect, thoughts, think=think), gold, known.tools


def soft_calls(text: str, gold_name: str, *, untagged: bool = False) -> list[ToolCall]:
    """The calls in the JSON lines after the last <tool_call>.

    An object without `name` or `parameters` is taken for bare parameters of the gold tool.

    Args:
        untagged: whether a text without the tag is read whole, as the released scorer does.
    """
    _, tag, block = text.rpartition(_TAG)
    found = []
    for line in (block.split("</tool_call>")[0] if tag or untagged else "").split("\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(value, dict):
            continue
        if "name" in value and isinstance(value.get("parameters"), dict):
            found.append(ToolCall(str(value["name"]), value["parameters"]))
        elif "name" not in value or "parameters" not in value:
            found.append(ToolCall(gold_name, value))
    return found


@dataclass
class APIBankEpisode:
    """One prompt, one reply, one gold call."""

    identity: str
    category: str
    prompt: Prompt
    gold: ToolCall
    dialect: Dialect
    tools: tuple[Tool, ...] = ()
    _answer: Answer | None = None

    def request(self) -> Prompt | None:
        return self.prompt if self._answer is None else None

    def receive(self, answer: Answer) -> None:
        self._answer = answer

    def outcome(self) -> Outcome:
        """See `Episode.outcome`. `correct` is the soft score."""
        assert self._answer is not None
        answer = self._answer
        reply = read(answer, self.dialect, self.tools)
        if self.dialect.name == "rlla" and answer.calls is None:
            seen = soft_calls(answer.text, self.gold.name)
        else:
            seen = list(reply.calls)
        soft = any(_equal(call, self.gold) for call in seen)
        released = soft or (
            self.dialect.name == "rlla"
            and answer.calls is None
            and any(
                _equal(call, self.gold)
                for call in soft_calls(answer.text, self.gold.name, untagged=True)
            )
        )
        strict = reply.calls_intact and len(reply.calls) == 1 and _equal(reply.calls[0], self.gold)
        return Outcome(
            identity=self.identity,
            category=self.category,
            correct=soft,
            check="" if soft else _why(seen, self.gold),
            expected={self.gold.name: self.gold.parameters},
            got={"calls": [{c.name: c.parameters} for c in seen], "text": answer.text},
            statuses=(status_of(answer, reply),),
            tokens=() if answer.tokens is None else (answer.tokens,),
            scores={"strict": float(strict), "released": float(released)},
        )


def _equal(call: ToolCall, gold: ToolCall) -> bool:
    return call.name == gold.name and call.parameters == gold.parameters


def _why(calls: list[ToolCall], gold: ToolCall) -> str:
    if not calls:
        return "no call"
    named = [call for call in calls if call.name == gold.name]
    if not named:
        return "wrong name"
    keys = set(gold.parameters)
    return "wrong value" if any(set(c.parameters) == keys for c in named) else "wrong parameters"
