"""Chooses the dtype of an evaluation."""

from __future__ import annotations

import torch


def chosen_dtype(wanted: str | None) -> str:
    """The wanted dtype; None: bfloat16 on a GPU that computes in it, else float32.

    They round differently, so that greedy texts differ.
    """
    if wanted is not None:
        return wanted
    if not torch.cuda.is_available():
        return "float32"
    has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if has_it else "float32"
