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
    ids, kept, start = ids.cpu(), mask.bool().cpu(), ids.size(1) - width
    return (
        [row[own].tolist() for row, own in zip(ids[:, :start], kept[:, :start], strict=True)],
        [row[own].tolist() for row, own in zip(ids[:, start:], kept[:, start:], strict=True)],
    )


def take_rows(inputs: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """Some rows of a micro-batch, without the columns that are padding in all of them."""
    taken = _select(inputs, rows)
    width = inputs["completion_ids"].size(1)
    prompt = max(1, int(taken["prompt_mask"].sum(1).max()))
    response = max(1, int(taken["completion_mask"].sum(1).max()))
    for name, value in taken.items():
        if name in ("prompt_ids", "prompt_mask"):
            taken[name] = value[:, -prompt:]
        elif isinstance(value, torch.Tensor) and value.dim() > 1 and value.size(1) == width:
            taken[name] = value[:, :response]
    return taken


def regroup(batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows in micro-batches of the same sizes, those of a prompt next to each other."""
    rows = len(batches[0]["completion_ids"])
    joined = {
        name: torch.cat([batch[name] for batch in batches]) if _by_row(value, rows) else value
        for name, value in batches[0].items()
    }
    prompts, _ = prompts_and_responses(joined)
    order = [row for group in group_rows(prompts) for row in group]
    return [_select(joined, order[start : start + rows]) for start in range(0, len(order), rows)]


def _select(inputs: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    count = len(inputs["completion_ids"])
    return {
        name: value[list(rows)] if _by_row(value, count) else value
        for name, value in inputs.items()
    }


def _by_row(value: Any, rows: int) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0 and len(value) == rows
