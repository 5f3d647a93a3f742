"""One response a prompt by transformers' `generate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from toolrest.rollout.draw import Draw

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def generate_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_response_tokens: int,
    draw: Draw | None,
    end_ids: Sequence[int],
) -> list[list[int]]:
    """One response a prompt by transformers' generate, the end token included.

    What the checkpoint's own generation config asks for (a repetition penalty, say) is left aside,
    so that sampling is that of training and greedy is greedy.

    Args:
        draw: None for greedy decoding.
        end_ids: a response ends with one of them.
    """
    batch = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt").to(
        model.device
    )
    sampled = (
        {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if draw is None
        else {"do_sample": True, **asdict(draw)}
    )
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        output = cast(Any, model).generate(
            **batch,
            max_new_tokens=max_response_tokens,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=list(end_ids),
            **sampled,
        )
    finally:
        model.generation_config = own
    rows = output[:, batch["input_ids"].size(1) :].tolist()
    return [_ended(row, end_ids) for row in rows]


def _ended(row: list[int], end_ids: Sequence[int]) -> list[int]:
    """The ids up to the first end token, which is kept."""
    at = next((place for place, token in enumerate(row) if token in end_ids), None)
    return row if at is None else row[: at + 1]
