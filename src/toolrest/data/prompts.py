"""Renders prompts to token ids and selects those that fit."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from toolrest.data.sample import Sample
from toolrest.data.wording import Prompt, split_parallel
from toolrest.errors import InputError
from toolrest.io.deadline import EndlessTemplate, apply_template
from toolrest.io.redaction import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_Written = TypeVar("_Written", str, list[int])
_BATCH = 512
"""Prompts that are tokenised at once."""
NOTHING = "the policy's chat template writes nothing for a prompt"


@dataclass(frozen=True)
class Fit:
    """Which samples have prompts that fit a policy, and the others."""

    kept: list[int]
    """The places of samples whose prompts fit, in order."""
    dropped: list[tuple[str, int]]
    """(row, prompt tokens) of those whose prompts are too long."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """(row, reason) of those that the chat template refuses."""


class TemplateRefusal(InputError):
    """The chat template refuses this prompt; it may accept others."""


def render_prompt(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token ids of a sample's prompt, by the tokenizer's chat template, [L]."""
    return render_chat(sample_prompt(sample), tokenizer)


def sample_prompt(sample: Sample) -> Prompt:
    """The prompt of a sample."""
    return Prompt(list(sample.prompt), None if sample.tools is None else list(sample.tools))


def render_chat(prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token ids of a prompt, by the tokenizer's chat template, [L].

    A template that refuses the messages as they are is given a call's arguments as JSON text, then
    one call a message, then the system message's text as the beginning of the user's, as some ask
    for.

    Raises:
        TemplateRefusal: the template refuses the messages or the tools, or writes nothing.
    """
    encoded = _by_template(prompt, tokenizer, tokenize=True, return_dict=True)
    return _not_empty(cast("dict[str, list[int]]", encoded)["input_ids"])


def render_text(prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of a prompt, as `render_chat` tokenises it."""
    return _not_empty(cast(str, _by_template(prompt, tokenizer, tokenize=False)))


def render_prompts(
    samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase
) -> Iterator[list[int] | TemplateRefusal]:
    """What `render_prompt` gives for each sample, or raises, by a tokenizer that reads many texts
    at once.
    """
    for start in range(0, len(samples), _BATCH):
        part = samples[start : start + _BATCH]
        texts, refusals = write_prompts(part, tokenizer)
        ids = iter(tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else ())
        for place in range(len(part)):
            yield refusals.get(place) or next(ids) or TemplateRefusal(NOTHING)


def write_prompts(
    samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[str], dict[int, TemplateRefusal]]:
    """(the texts of the prompts, by the chat template, without those that it refuses; refusals by
    their places).
    """
    texts: list[str] = []
    refusals: dict[int, TemplateRefusal] = {}
    for place, sample in enumerate(samples):
        try:
            texts.append(render_text(sample_prompt(sample), tokenizer))
        except TemplateRefusal as refusal:
            refusals[place] = refusal
    return texts, refusals


def _by_template(prompt: Prompt, tokenizer: PreTrainedTokenizerBase, **options: Any) -> object:
    """What the chat template makes of the first form of a prompt that it takes."""
    refusal: Exception | None = None
    for messages in _forms(prompt.messages):
        try:
            return apply_template(
                tokenizer,
                messages,
                tools=cast(Any, prompt.tools),
                add_generation_prompt=True,
                **options,
            )
        except EndlessTemplate:
            raise
        except Exception as error:  # a template may raise anything
            refusal = refusal or error
    said = "nothing" if refusal is None else first_line(refusal)
    raise TemplateRefusal(
        f"the policy's chat template refuses the prompt ({said}); another "
        "wording may fit: data.prompt=plain, in evaluation --prompt plain"
    ) from refusal


def _not_empty(written: _Written) -> _Written:
    if not written:
        raise TemplateRefusal(NOTHING)
    return written


def _forms(messages: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The messages as they are, then in forms for templates that refuse those."""
    yield from _forms_of_calls(messages)
    joined = without_system(messages)
    if joined != messages:
        yield from _forms_of_calls(joined)


def _forms_of_calls(messages: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    yield messages
    if not any(message.get("tool_calls") for message in messages):
        return
    yield [_with_text_arguments(message) for message in messages]
    split = split_parallel(messages)
    if split != messages:
        yield split
        yield [_with_text_arguments(message) for message in split]


def takes_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template accepts a system message; Gemma 2's does not."""
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    try:
        apply_template(tokenizer, messages, add_generation_prompt=True, tokenize=False)
    except EndlessTemplate:
        raise
    except Exception:  # a template may raise anything
        return False
    return True


def without_system(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the system text moved to the start of the next user message."""
    if len(messages) < 2 or (messages[0]["role"], messages[1]["role"]) != ("system", "user"):
        return list(messages)
    system, user, *rest = messages
    return [user | {"content": f"{system['content']}\n\n{user['content']}"}, *rest]


def _with_text_arguments(message: dict[str, Any]) -> dict[str, Any]:
    """The message with its calls' arguments as JSON text."""
    if not message.get("tool_calls"):
        return message
    calls = []
    for call in message["tool_calls"]:
        function = dict(call["function"])
        if not isinstance(function["arguments"], str):
            function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
        calls.append(call | {"function": function})
    return message | {"tool_calls": calls}


def single_id(token_id: object) -> int:
    """A tokenizer's id of one token.

    Raises:
        InputError: the tokenizer has none.
    """
    if not isinstance(token_id, int):
        raise InputError("the policy's tokenizer has no end-of-sequence or padding token")
    return token_id


def fit_prompts(
    samples: Sequence[Sample], lengths: Sequence[int | str], max_prompt_tokens: int
) -> Fit:
    """Keep the samples whose prompts have at most `max_prompt_tokens` tokens.

    Args:
        lengths: the tokens of each prompt, or why the chat template refuses it.

    Raises:
        InputError: no sample is left.
    """
    fit = Fit([], [])
    for place, length in enumerate(lengths):
        if isinstance(length, int) and length <= max_prompt_tokens:
            fit.kept.append(place)
            continue
        sample = samples[place]
        row = sample.row or sample.identity
        if isinstance(length, int):
            fit.dropped.append((row, length))
        else:
            fit.refused.append((row, length))
    if not fit.kept:
        raise InputError(_nothing_left(fit, max_prompt_tokens))
    return fit


def _nothing_left(fit: Fit, max_prompt_tokens: int) -> str:
    if not fit.dropped and fit.refused:
        row, reason = fit.refused[0]
        return f"data: no row is left; row {row}: {reason}"
    shortest = min((length for _, length in fit.dropped), default=0)
    refused = f" ({len(fit.refused)} more are refused by the template)" if fit.refused else ""
    return (
        f"data.max_prompt_tokens={max_prompt_tokens}: every prompt is longer; the shortest has "
        f"{shortest} tokens{refused}"
    )


def hold_out(
    samples: Sequence[Sample], fraction: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """(training, held-out) samples by a seeded random split; the order is kept.

    Steps of one dialogue stay together. At least one is held out if the fraction is not 0 and
    there are two.
    """
    train, heldout = hold_out_places([sample.group for sample in samples], fraction, seed)
    return [samples[place] for place in train], [samples[place] for place in heldout]


def hold_out_places(
    groups: Sequence[str], fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """`hold_out` of samples of which only the groups are given, by their places."""
    names = [group or f"{index}" for index, group in enumerate(groups)]
    known = list(dict.fromkeys(names))
    count = round(fraction * len(known))
    if fraction > 0 and len(known) > 1:
        count = min(max(1, count), len(known) - 1)
    chosen = {known[place] for place in random.Random(seed).sample(range(len(known)), count)}
    train, heldout = [], []
    for place, name in enumerate(names):
        (heldout if name in chosen else train).append(place)
    return train, heldout
