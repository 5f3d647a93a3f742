"""TRL's batches of rollouts: rows without padding, some of the rows, rows by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from toolrest.engines.trl.prefix.packing import group_rows


def token_shares(inputs: dict[str, Any], parts: Sequence[Sequence[int]]) -> list[float]:
    """The share of each part in the tokens that the loss counts."""
    counted = (inputs["completion_mask"] * inputs.get("tool_mask", 1)).sum(1)
    counts = [float(counted[list(rows)].sum()) for rows in parts]
    return [count / max(1.0, sum(counts)) for count in counts]


def prompts_and_responses(inputs: dict[str, Any]) -> tuple[list[list[int]], list[list[int]]]:
    """Their ids without padding."""
    ids = torch.cat((inputs["prompt_ids"], inputs["completion_ids"]), dim=1)
    mask = torch.cat((inputs["prompt_mask"], inputs["completion_mask"]), dim=1)
    return without_padding(ids, mask, inputs["completion_ids"].size(1))


def without_padding(
    ids: torch.Tensor, mask: torch.Tensor, width: int
) -> tuple[list[list[int]], list[list[int]]]:
    """The ids of each prompt and each response, from [B, P + T] with T = `width`."""
    rows, kept = ids.tolist(), mask.bool().tolist()
    real = [[i for i, k in zip(*row, strict=True) if k] for row in zip(rows, kept, strict=True)]
    counts = mask[:, -width:].sum(1).tolist() if width else [0] * len(rows)
    cuts = [len(row) - int(count) for row, count in zip(real, counts, strict=True)]
    return (
        [row[:cut] for row, cut in zip(real, cuts, strict=True)],
        [row[cut:] for row, cut in zip(real, cuts, strict=True)],
    )


def take_rows(inputs: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """Some rows of a micro-batch, without the columns that are padding in all of them."""
    count, width = inputs["completion_ids"].shape
    prompt = int(inputs["prompt_mask"][list(rows)].sum(1).max())
    response = int(inputs["completion_mask"][list(rows)].sum(1).max())

    def cut(name: str, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dim() == 0 or len(value) != count:
            return value
        value = value[list(rows)]
        if name in ("prompt_ids", "prompt_mask"):
            return value[:, -prompt:]
        return value[:, :response] if value.dim() > 1 and value.size(1) == width else value

    return {name: cut(name, value) for name, value in inputs.items()}


def regroup(batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows in micro-batches of the same sizes, those of a prompt next to each other."""
    rows = len(batches[0]["completion_ids"])
    joined = {
        name: torch.cat([batch[name] for batch in batches])
        if isinstance(value, torch.Tensor) and value.dim() > 0 and len(value) == rows
        else value
        for name, value in batches[0].items()
    }
    prompts, _ = prompts_and_responses(joined)
    order = [row for group in group_rows(prompts) for row in group]
    return [
        {
            name: value[order[start : start + rows]]
            if isinstance(value, torch.Tensor) and value.dim() > 0 and len(value) == len(order)
            else value
            for name, value in joined.items()
        }
        for start in range(0, len(order), rows)
    ]
