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


def render_prompt(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The prompt's token ids by the tokenizer's own chat template."""
    encoded = tokenizer.apply_chat_template(
        list(sample.prompt), add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return cast("dict[str, list[int]]", encoded)["input_ids"]


def render_chat(prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token ids of a prompt by the tokenizer's own chat template.

    Raises:
        InputError: the template refuses the messages or the tools.
    """
    from jinja2 import TemplateError

    try:
        encoded = tokenizer.apply_chat_template(
            prompt.messages,
            tools=cast(Any, prompt.tools),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
        )
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"the policy's chat template refuses the prompt ({error}); another wording may fit: "
            "--prompt plain"
        ) from error
    return cast("dict[str, list[int]]", encoded)["input_ids"]


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

    At least one sample is held out if the fraction is not 0 and there are two samples.
    """
    count = round(fraction * len(samples))
    if fraction > 0 and len(samples) > 1:
        count = min(max(1, count), len(samples) - 1)
    chosen = set(random.Random(seed).sample(range(len(samples)), count))
    train = [sample for index, sample in enumerate(samples) if index not in chosen]
    return train, [samples[index] for index in sorted(chosen)]
