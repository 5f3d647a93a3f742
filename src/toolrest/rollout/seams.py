"""What stands between two turns of a rollout, as token ids: the chat template's words around tool
results, or around what the user says next.

What was sampled is never decoded and tokenised again. So the ids between are those that the
template writes after the end of an assistant's turn; nothing before them is rendered anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from toolrest.core.dialects import ToolCall
from toolrest.data.dialogue import Action, Dialogue, Observation, Tool, Turn, UserTurn
from toolrest.data.prompts import render_text
from toolrest.data.wording import Prompt, word
from toolrest.environments.base import Start
from toolrest.errors import InputError
from toolrest.policy.speech import Speech

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHARACTERS = 128
"""Of a token, at most: a text of more for each that may be there is too long."""
_MARKS = ("qv1x", "wz2k")
"""Two values of a call, and two answers, that begin and end differently."""


@dataclass(frozen=True)
class Seams:
    """The ids between the turns of a policy's rollouts."""

    tokenizer: PreTrainedTokenizerBase
    """Whose chat template writes them."""
    speech: Speech
    """Of the same policy: its dialect, and the tokens that end a turn."""
    style: str
    """See `toolrest.data.wording`: `template` or `plain`."""
    max_result_tokens: int = 256
    """A longer result is cut in the middle, with a mark."""

    def check(self) -> None:
        """Check that the chat template can be gone on with, before anything is sampled.

        Raises:
            InputError: it cannot.
        """
        if self.style == "rlla":
            raise InputError(
                "data.prompt=rlla writes a dialogue's history into one message, so that no turn "
                "can follow another; use data.prompt=plain or template"
            )
        self.results([ToolCall("tool", {})], ["result"], 0)
        self.user("next")

    def results(self, calls: Sequence[ToolCall], texts: Sequence[str], earlier: int) -> list[int]:
        """The ids between a turn with calls and the turn that reads their results.

        Args:
            calls: at least one.
            texts: the result of each.
            earlier: how many calls the rollout made before them, which some templates count.

        Raises:
            InputError: the template does not end an assistant's turn by a token that ends one.
        """
        shown = tuple(
            (call.name, self.shortened(text)) for call, text in zip(calls, texts, strict=True)
        )
        names = [call.name for call in calls]
        if len(names) > 1 and self._one_call_a_message:
            # all results follow one call, since none may stand between two calls of a turn
            return self._after(_called(names[-1:], shown, (0,) * len(shown)), earlier)
        return self._after(_called(names, shown), earlier)

    def user(self, text: str) -> list[int]:
        """The ids between an answer and the turn that follows what the user says next."""
        return self._after([(Action(response=mark), UserTurn(text)) for mark in _MARKS], 0)

    def shortened(self, text: str) -> str:
        """The text, or its beginning and end around a mark where it is too long."""
        half = self.max_result_tokens // 2
        if len(text) > 2 * (ends := half * _CHARACTERS):  # what is cut anyway is not tokenised
            first = self.speech.vocabulary.text(self._ids(text[:ends])[:half])
            last = self.speech.vocabulary.text(self._ids(text[-ends:])[-half:])
            cut = len(text) - len(first) - len(last)
            return f"{first}\n[.. {cut} characters are left out ..]\n{last}"
        ids = self._ids(text)
        if len(ids) <= self.max_result_tokens:
            return text
        first, last = (self.speech.vocabulary.text(part) for part in (ids[:half], ids[-half:]))
        cut = len(ids) - 2 * half
        return f"{first}\n[.. {cut} tokens are left out ..]\n{last}"

    @cached_property
    def _one_call_a_message(self) -> bool:
        """Whether the template puts a result between two calls of one turn."""
        ids = self._after(_called(("one", "two"), (("one", "first"), ("two", "second"))), 0)
        return "first" not in self.tokenizer.decode(ids)

    def _after(self, variants: Sequence[tuple[Turn, ...]], earlier: int) -> list[int]:
        """The ids after the end of the first of some turns.

        The turns are rendered twice, with other words in the first one. All that differs lies in
        it or before it; so whatever the template does to earlier turns, what follows is the end
        that both have in common, from the first token on that ends a turn.
        """
        texts = [self._rendered(turns, earlier) for turns in variants]
        common = _common_end(*texts)
        found = [(common.find(end), end) for end in self._ends(common) if end in common]
        if not found or len(common) == len(texts[0]):
            raise InputError(
                "the policy's chat template does not end the assistant's turn by a token that "
                "ends a response, so that no turn can follow another; try data.prompt="
                + ("plain" if self.style == "template" else "template")
            )
        at, end = min(found)
        return self._ids(common[at + len(end) :])

    def _rendered(self, turns: tuple[Turn, ...], earlier: int) -> str:
        count: tuple[Turn, ...] = ()
        if earlier:
            done = tuple(ToolCall("tool", {}) for _ in range(earlier))
            count = (Action(done), Observation(tuple(("tool", "") for _ in done)))
        dialogue = Dialogue((), (UserTurn("request"), *count, *turns))
        return render_text(word(dialogue, self.style, self.speech.dialect, "none"), self.tokenizer)

    def _ends(self, after: str) -> list[str]:
        """The texts of the tokens that end a turn, and of the special one that the template writes
        right after a turn, as gpt-oss' ends earlier turns by another token than the last.
        """
        ends = self.tokenizer.convert_ids_to_tokens(list(self.speech.stop_ids))
        begun = (each for each in self.tokenizer.all_special_tokens if after.startswith(each))
        return [end for end in (*ends, *begun) if isinstance(end, str)]

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def _common_end(one: str, other: str) -> str:
    """The longest text that both end with."""
    backwards = zip(reversed(one), reversed(other), strict=False)
    length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], backwards))
    return one[len(one) - length :]


def _called(
    names: Sequence[str],
    shown: tuple[tuple[str, str], ...],
    answered: tuple[int, ...] | None = None,
) -> list[tuple[Turn, ...]]:
    """Two variants of a turn with calls, and its results."""
    return [
        (
            Action(tuple(ToolCall(name, {"x": mark}) for name in names)),
            Observation(shown, answered),
        )
        for mark in _MARKS
    ]


def first_prompt(start: Start, style: str, speech: Speech, *, think: bool = False) -> Prompt:
    """The prompt that an episode begins with. Messages that list the tools themselves stay as they
    are.

    Args:
        style: see `toolrest.data.wording`.
        speech: of the policy.
        think: whether a prompt in plain words asks for a thought.
    """
    messages = [dict(message) for message in start.messages]
    if not start.tools or style == "template":
        return Prompt(messages, [dict(tool) for tool in start.tools] or None)
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system") or None
    turns = tuple(
        Action(response=message["content"])
        if message["role"] == "assistant"
        else UserTurn(message["content"])
        for message in messages
        if message["role"] != "system"
    )
    tools = tuple(map(_tool, start.tools))
    return word(Dialogue(tools, turns, system), style, speech.dialect, think=think)


def _tool(value: dict[str, Any]) -> Tool:
    inner = value.get("function", value)
    return Tool(inner["name"], inner.get("description", ""), inner.get("parameters", {}))
