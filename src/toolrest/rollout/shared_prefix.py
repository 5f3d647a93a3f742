"""Samples groups of responses from a small policy; a group shares its prompt's keys and values.

Each prompt has one forward a group. Responses that have ended leave the batch. A token is drawn by
a cumulative sum and one uniform number, so the same uniform numbers give the same responses,
whatever else is in the batch. On a CPU this takes less than half the time of `generate`
(`benchmarks/rollout.py`).

The policy's own modules compute everything but the attention, which is a backend registered with
transformers' attention interface.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache

from toolrest.rollout.prompt_cache import PromptCache, ResponseCache, sharing

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def can_share_prefix(model: PreTrainedModel) -> bool:
    """Whether this sampler computes the policy's attention: full, without soft-capping, through
    transformers' attention interface.
    """
    config: Any = model.config.get_text_config()
    return full_attention(model) and config.model_type in ("qwen2", "qwen3", "llama", "mistral")


def full_attention(model: PreTrainedModel) -> bool:
    """Whether each layer attends to all earlier tokens, without soft-capping, through transformers'
    attention interface.
    """
    config: Any = model.config.get_text_config()
    layers = getattr(config, "layer_types", None) or []
    base = cast(Any, model).get_base_model() if hasattr(model, "get_base_model") else model
    return (
        bool(getattr(base, "_supports_attention_backend", False))
        and all(kind == "full_attention" for kind in layers)
        and getattr(config, "sliding_window", None) is None
        and getattr(config, "attn_logit_softcapping", None) is None
    )


class Sampled(NamedTuple):
    """B responses, those to one prompt next to each other."""

    ids: list[list[int]]
    statistics: list[torch.Tensor]
    """Of each token of each response, float32, [T, 3]: ln p, and of the distribution that it was
    drawn from the entropy in nats and the collision entropy 1 - sum_v p_v^2. Empty if greedy."""


def sample_groups(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], **options: Any
) -> list[list[int]]:
    """As `sample`, but returns the token ids alone."""
    return sample(model, prompts, **options).ids


@torch.no_grad()
def sample(  # noqa: PLR0913 -- the policy, its prompts, and how each token is drawn
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    group_size: int,
    max_tokens: int,
    end_ids: Sequence[int],
    temperature: float | None,
    uniforms: torch.Tensor | None = None,
    on_ended: Callable[[int], object] = lambda count: None,
) -> Sampled:
    """Sample `group_size` responses to each prompt.

    Args:
        model: a causal language model for which `can_share_prefix` holds.
        prompts: token ids, at least one a prompt.
        max_tokens: a response that has not ended by then is cut.
        end_ids: a response ends with one of them, which it includes.
        temperature: None for greedy decoding.
        uniforms: numbers in [0, 1), float64, [B, max_tokens] with B = prompts * group_size: one for
            each token that may be sampled. None: drawn from torch's global generator.
        on_ended: called with the number of responses that have ended so far, when it grows.
    """
    device = model.device
    mask, ids = _padded(prompts, device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    prompt_cache = DynamicCache()
    output = model(
        input_ids=ids,
        attention_mask=mask.long(),
        position_ids=positions,
        past_key_values=prompt_cache,
        use_cache=True,
        logits_to_keep=1,
    )
    shared = PromptCache(prompt_cache, mask, group_size)
    own = [ResponseCache(max_tokens) for _ in shared.layers]
    cache = Cache(layers=cast("list[Any]", own))
    logits = output.logits[:, -1].repeat_interleave(group_size, 0)
    position = mask.sum(1).repeat_interleave(group_size)
    total = len(prompts) * group_size
    if uniforms is None and temperature is not None:
        uniforms = torch.rand(total, max_tokens, dtype=torch.float64)
    ends = torch.tensor(list(end_ids), device=device)
    sampled = torch.zeros(total, max_tokens, dtype=torch.long, device=device)
    statistics = torch.zeros(total, 0 if temperature is None else max_tokens, 3, device=device)
    lengths = torch.full((total,), max_tokens, device=device)
    rows = torch.arange(total, device=device)
    with sharing(model):
        for step in range(max_tokens):
            if temperature is None:
                tokens = logits.argmax(-1)
            else:
                assert uniforms is not None
                drawn = uniforms[rows.to(uniforms.device), step].to(device)
                tokens, statistics[rows, step] = _draw(logits, temperature, drawn)
            sampled[rows, step] = tokens
            ended = torch.isin(tokens, ends)
            if ended.any():
                lengths[rows[ended]] = step + 1
                order, sources, targets = _compact(ended)
                rows, tokens, position = rows[order], tokens[order], position[order]
                on_ended(total - len(rows))
                if len(rows) == 0:
                    break
                shared.keep(order)
                for layer in own:
                    layer.move(sources, targets, len(rows))
            if step + 1 == max_tokens:
                on_ended(total)
                break
            output = model(
                input_ids=tokens[:, None],
                position_ids=position[:, None],
                past_key_values=cache,
                use_cache=True,
                prompts=shared,
            )
            logits = output.logits[:, -1]
            position = position + 1
    ids = [row[:length] for row, length in zip(sampled.tolist(), lengths.tolist(), strict=True)]
    return Sampled(ids, [row[: len(r)] for row, r in zip(statistics, ids, strict=True)])


def _compact(ended: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compact the batch after EOS: move the last active rows into freed slots.

    Args:
        ended: bool, [B].

    Returns:
        (order of the B' active rows [B'], sources [M], targets [M]): row sources[m] moves to
        targets[m].
    """
    count = int((~ended).sum())
    targets = ended[:count].nonzero().squeeze(1)
    sources = (~ended[count:]).nonzero().squeeze(1) + count
    order = torch.arange(count, device=ended.device)
    order[targets] = sources
    return order, sources, targets


def _padded(
    prompts: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(mask, ids), each [P, L], padded on the left."""
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = True
    return mask.to(device), ids.to(device)


def _draw(
    logits: torch.Tensor, temperature: float, uniforms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample one token a row by the inverse of its CDF; logits [B, V], uniforms [B].

    Returns:
        (tokens [B], their statistics as in `Sampled` [B, 3]).
    """
    chances = torch.softmax(logits.float() / temperature, dim=-1)
    cumulative = chances.double().cumsum(-1)
    drawn = (uniforms * cumulative[:, -1])[:, None]
    tokens = torch.searchsorted(cumulative, drawn, right=True).clamp(max=logits.shape[1] - 1)
    of_each = (
        chances.gather(1, tokens).log()[:, 0],
        torch.special.entr(chances).sum(-1),
        1.0 - chances.square().sum(-1),
    )
    return tokens[:, 0], torch.stack(of_each, dim=-1)
