"""What a scheme compares over the whole generation, of all processes."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from accelerate import Accelerator

from toolrest.core.weights import Scheme, TokenBatch, TokenStatistics


def weigh_together(scheme: Scheme, batch: TokenBatch, accelerator: Accelerator) -> torch.Tensor:
    """The scheme's weights of this process's tokens, [B, T], as one process would give them.

    A scheme that reads tokens compares them with others of the batch or of the group, which may
    stand in other processes.

    Args:
        batch: this process's tokens; every process has as many rows, groups of responses stand next
            to each other over the processes in their order.
    """
    if not scheme.reads_tokens or accelerator.num_processes == 1:
        return scheme(batch)
    rows, width = batch.mask.shape
    first = rows * accelerator.process_index
    return scheme(_of_all(batch, accelerator))[first : first + rows, :width]


def _of_all(batch: TokenBatch, accelerator: Accelerator) -> TokenBatch:
    def whole(values: torch.Tensor) -> torch.Tensor:
        padded = accelerator.pad_across_processes(values, dim=1)
        return cast(torch.Tensor, accelerator.gather(padded))

    tokens = batch.tokens
    return replace(
        batch,
        regions=whole(batch.regions),
        mask=whole(batch.mask.long()).bool(),
        token_statistics=TokenStatistics(
            whole(tokens.ids),
            whole(tokens.entropy),
            whole(tokens.surprisal),
            cast(torch.Tensor, accelerator.gather(tokens.advantages)),
            tokens.group_size,
        ),
    )
