"""Generates a policy's responses to samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from toolrest.data.prompts import render_prompt
from toolrest.data.sample import Sample
from toolrest.engines.common.ranks import ALONE, Ranks
from toolrest.rollout.draw import Draw
from toolrest.rollout.generate import generate_batch
from toolrest.rollout.sampler import Sampler, shares_prefix
from toolrest.rollout.shared_prefix import sample_groups

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Decoding:
    """How responses are sampled, and when they end."""

    end_ids: Sequence[int]
    """A response ends with one of them."""
    max_response_tokens: int
    """One that has not ended by then is cut."""
    draw: Draw | None
    """None for greedy decoding."""
    seed: int = 0
    """Of the sampling; the process's random state is left as it was."""
    batch_size: int = 128
    """Responses that are sampled together."""
    sampler: Sampler = "auto"
    """See `toolrest.rollout.sampler`."""


def sample_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    decoding: Decoding,
    uniforms: torch.Tensor | None = None,
) -> list[list[int]]:
    """One response to each prompt as token ids, all sampled together.

    Args:
        uniforms: what a sampler with shared prefixes draws by, [B, T]; None: by torch's own state.
    """
    most, draw = decoding.max_response_tokens, decoding.draw
    if not shares_prefix(model, decoding.sampler):
        return generate_batch(model, tokenizer, prompts, most, draw, decoding.end_ids)
    return sample_groups(
        model,
        prompts,
        group_size=1,
        max_tokens=most,
        end_ids=decoding.end_ids,
        draw=draw,
        uniforms=uniforms,
    )


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Sample],
    decoding: Decoding,
    on_batch: Callable[[int], object] = lambda done: None,
    ranks: Ranks = ALONE,
) -> list[list[int]]:
    """One response a sample as token ids, [B] lists; an end token is included.

    Several processes share the samples, and each has all responses at the end. With shared
    prefixes they are those that one process samples.

    Args:
        on_batch: called with the number of samples done so far.
    """
    prompts = [render_prompt(sample, tokenizer) for sample in samples]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    order = order[ranks.index :: ranks.count]
    responses: list[list[int]] = [[] for _ in prompts]
    was_training = model.training
    model.eval()
    shared = shares_prefix(model, decoding.sampler)
    uniforms = torch.rand(
        len(prompts) if shared else 0,
        decoding.max_response_tokens,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(decoding.seed),
    )
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(decoding.seed + ranks.index)
        for start in range(0, len(order), decoding.batch_size):
            chosen = order[start : start + decoding.batch_size]
            asked = [prompts[i] for i in chosen]
            drawn = uniforms[chosen] if shared else None
            batch = sample_batch(model, tokenizer, asked, decoding, drawn)
            for index, response in zip(chosen, batch, strict=True):
                responses[index] = response
            on_batch(min(len(prompts), ranks.count * (start + len(chosen))))
    model.train(was_training)
    parts = ranks.each({index: responses[index] for index in order})
    for index, response in (pair for part in parts for pair in part.items()):
        responses[index] = response
    return responses
