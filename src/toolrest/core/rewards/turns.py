"""The reply of a rollout: one turn, several with tool results between, or chat messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from toolrest.core.dialects import Block, Dialect, ParseStatus, Scan, ToolCall
from toolrest.core.dialects.json_call import UNREADABLE, load
from toolrest.core.dialects.types import Tools
from toolrest.core.vocabulary import Vocabulary
from toolrest.errors import InputError

_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


class Turns(tuple[str, ...]):
    """What the policy wrote, turn by turn, each with its part that the template has written."""


def written_turns(
    ids: Sequence[int],
    written: Sequence[bool] | None,
    vocabulary: Vocabulary,
    dialect: Dialect,
    opening: str,
) -> Turns:
    """The turns of a rollout.

    Args:
        ids: the completion's token ids, tool results included.
        written: which of them the policy sampled; None: all, in one turn.
        opening: what the prompt has written of the first turn.
    """
    if written is None:
        return Turns([opening + vocabulary.text(ids)])
    turns: list[str] = []
    before = opening
    runs = groupby(zip(ids, written, strict=True), key=lambda pair: bool(pair[1]))
    for sampled, run in runs:
        text = vocabulary.text([token for token, _ in run])
        if sampled:
            turns.append(before + text)
        else:
            before = dialect.opening(text)
    return Turns(turns)


def one_reply(turns: Sequence[Scan], truth: Scan) -> Scan:
    """Join several turns to the one reply that a ground truth is compared with.

    The calls of all of them count, in order, and the last one's response where the truth has one:
    what the policy tells the user once the tools have answered is not owed by a truth of calls.
    """
    if len(turns) == 1:
        return turns[0]
    if not turns:
        return Scan((), (), None, (), None, ParseStatus.EMPTY, 0, True, True)
    last = turns[-1]
    found = {block for turn in turns for block in turn.blocks} - {Block.RESPONSE}
    if Block.RESPONSE in last.blocks and Block.RESPONSE in truth.blocks:
        found.add(Block.RESPONSE)
    broken = next((turn for turn in turns if turn.status is not ParseStatus.OK), last)
    return Scan(
        spans=(),
        blocks=_in_order(found, (truth,)),
        thought=turns[0].thought,
        calls=tuple(call for turn in turns for call in turn.calls),
        response=last.response,
        status=broken.status,
        position=None,
        well_formed=all(turn.well_formed for turn in turns),
        calls_intact=all(turn.calls_intact for turn in turns),
    )


def read_messages(
    completion: Any, dialect: Dialect, truths: Sequence[Scan], opening: str, tools: Tools
) -> list[Scan]:
    """The turns of a completion in chat messages, whose calls may be parsed already.

    Messages of other roles, such as a tool's results, are not the policy's and are not read.

    Args:
        truths: right replies; a turn with the blocks of one of them has them in its order.
        opening: what the prompt has written of the first turn.

    Raises:
        InputError: it is no list of messages, or a message is none.
    """
    if not isinstance(completion, Sequence) or not all(
        isinstance(message, Mapping) for message in completion
    ):
        raise InputError(
            f"a completion is {type(completion).__name__}, neither a text nor a list of messages"
        )
    own = [message for message in completion if message.get("role", "assistant") == "assistant"]
    if not own:
        raise InputError("a completion has no message of the assistant, so nothing can be scored")
    return [
        _message(message, dialect, truths, opening if number == 0 else "", tools)
        for number, message in enumerate(own)
    ]


def _message(
    message: Mapping[str, Any],
    dialect: Dialect,
    truths: Sequence[Scan],
    opening: str,
    tools: Tools,
) -> Scan:
    content = _content(message.get("content"))
    thoughts = (message.get(key) for key in _THOUGHTS)
    thought = next((each for each in thoughts if isinstance(each, str)), None)
    listed = message.get("tool_calls")
    if not listed and message.get("function_call"):
        listed = [message["function_call"]]
    if not listed:
        if thought is None:
            return dialect.read(opening + content, tools)
        scan = dialect.read(content, tools)
        kept = [block for block in scan.blocks if block is not Block.THOUGHT]
        return replace(scan, thought=thought, blocks=(Block.THOUGHT, *kept), spans=())
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise InputError(f"a message's tool_calls is {type(listed).__name__}, not a list")
    if thought is None and content.strip():
        said = dialect.read(opening + content, tools)
        if said.status is ParseStatus.OK and said.thought is not None and not said.calls:
            thought, content = said.thought, said.response or ""
    calls = [_call(each) for each in listed]
    read = tuple(call for call in calls if call is not None)
    intact = len(read) == len(calls)
    found = {Block.CALLS}
    if thought is not None or opening:
        found.add(Block.THOUGHT)
    if content.strip():
        found.add(Block.RESPONSE)
    return Scan(
        spans=(),
        blocks=_in_order(found, truths),
        thought=thought,
        calls=read,
        response=content.strip() or None,
        status=ParseStatus.OK if intact else ParseStatus.BAD_CALL,
        position=None if intact else 0,
        well_formed=True,
        calls_intact=intact,
    )


def _content(content: Any) -> str:
    """A message's text, its parts joined."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(isinstance(part, Mapping) for part in content):
        return "".join(str(part.get("text") or "") for part in content)
    raise InputError(f"a message's content is {type(content).__name__}, not a text")


def _call(value: Any) -> ToolCall | None:
    """Parse a call in OpenAI's form; None if it is malformed."""
    inner = value.get("function", value) if isinstance(value, Mapping) else None
    if not isinstance(inner, Mapping):
        return None
    name, arguments = inner.get("name"), inner.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = load(arguments)
        except UNREADABLE:
            return None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return ToolCall(name, arguments)


def _in_order(found: set[Block], truths: Sequence[Scan]) -> tuple[Block, ...]:
    """Blocks whose order is not known, in that of the first truth that has just these."""
    alike = (truth.blocks for truth in truths if found == set(truth.blocks))
    return next(alike, tuple(_usual(found)))


def _usual(found: set[Block]) -> Iterator[Block]:
    yield from (block for block in (Block.THOUGHT, Block.RESPONSE, Block.CALLS) if block in found)
