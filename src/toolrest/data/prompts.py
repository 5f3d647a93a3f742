"""Prompts as the policy sees them, and which of them fit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from toolrest.data.sample import Sample
from toolrest.data.wording import Prompt
from toolrest.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Fit:
    """Which samples fit a policy."""

    kept: list[Sample]
    """Samples whose prompts fit, in order."""
    dropped: list[tuple[str, int]]
    """(identity, prompt tokens) of those whose prompts are too long."""


class TemplateRefusal(InputError):
    """A chat template refuses a prompt; other prompts may be fine."""


def render_prompt(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The prompt's token ids by the tokenizer's own chat template."""
    return render_chat(sample_prompt(sample), tokenizer)


def sample_prompt(sample: Sample) -> Prompt:
    """The prompt of a sample."""
    return Prompt(list(sample.prompt), None if sample.tools is None else list(sample.tools))


def render_chat(prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token ids of a prompt by the tokenizer's own chat template.

    Raises:
        TemplateRefusal: the template refuses the messages or the tools, or writes nothing.
    """
    try:
        encoded = tokenizer.apply_chat_template(
            prompt.messages,
            tools=cast(Any, prompt.tools),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
        )
    except Exception as error:  # a template may raise anything
        raise TemplateRefusal(
            f"the policy's chat template refuses the prompt ({error}); another wording may fit: "
            "--prompt plain"
        ) from error
    ids = cast("dict[str, list[int]]", encoded)["input_ids"]
    if not ids:
        raise TemplateRefusal("the policy's chat template writes nothing for a prompt")
    return ids


def single_id(token_id: object) -> int:
    """A tokenizer's id of one token.

    Raises:
        InputError: the tokenizer has none.
    """
    if not isinstance(token_id, int):
        raise InputError("the policy's tokenizer has no end-of-sequence or padding token")
    return token_id


def fit_prompts(
    samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase, max_prompt_tokens: int
) -> Fit:
    """Keep the samples whose prompts have at most `max_prompt_tokens` tokens.

    Raises:
        InputError: no sample is left.
    """
    kept, dropped = [], []
    for sample in samples:
        length = len(render_prompt(sample, tokenizer))
        if length <= max_prompt_tokens:
            kept.append(sample)
        else:
            dropped.append((sample.identity, length))
    if not kept:
        shortest = min(length for _, length in dropped)
        raise InputError(
            f"data.max_prompt_tokens={max_prompt_tokens}: every prompt is longer; the shortest has "
            f"{shortest} tokens"
        )
    return Fit(kept, dropped)


def hold_out(
    samples: Sequence[Sample], fraction: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """(training, held-out) samples: a seeded random split, the order kept.

    Steps of one dialogue stay together. At least one is held out if the fraction is not 0 and
    there are two.
    """
    groups = list(dict.fromkeys(_group(sample, index) for index, sample in enumerate(samples)))
    count = round(fraction * len(groups))
    if fraction > 0 and len(groups) > 1:
        count = min(max(1, count), len(groups) - 1)
    chosen = {groups[place] for place in random.Random(seed).sample(range(len(groups)), count)}
    train, heldout = [], []
    for index, sample in enumerate(samples):
        (heldout if _group(sample, index) in chosen else train).append(sample)
    return train, heldout


def _group(sample: Sample, index: int) -> str:
    return sample.group or f"{index}"
