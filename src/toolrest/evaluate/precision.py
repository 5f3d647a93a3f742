"""The arithmetic that a policy answers in, where it is chosen here."""

from __future__ import annotations

import torch


def chosen_dtype(wanted: str | None) -> str:
    """What is asked for; unsaid, bfloat16 on a GPU that computes in it, and float32 elsewhere.

    They round differently, so that greedy texts differ.
    """
    if wanted is not None:
        return wanted
    if not torch.cuda.is_available():
        return "float32"
    has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if has_it else "float32"
