"""Estimates as lines of a Markdown table."""

from __future__ import annotations

from toolrest.estimate.plan import Estimate

_COLUMNS = (
    "recipe",
    "GPUs",
    "peak memory, GB",
    "prefill",
    "decode",
    "old log-probs",
    "update",
    "rest",
    "a generation, s",
    "run, h",
    "checkpoint, GB",
)


def header() -> list[str]:
    """The two first lines of the Markdown table; parts are seconds of one generation."""
    return [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]


def row(name: str, plan: Estimate) -> str:
    """A recipe's line of the table."""
    part = plan.seconds
    rest = part.weighting + part.weight_sync
    cells = [
        f"{plan.gpus} x {plan.gpu.name}",
        f"{plan.memory.peak / 1e9:.1f}",
        *(f"{s:.1f}" for s in (part.prefill, part.decode, part.old_log_probs, part.update, rest)),
        f"{part.total:.0f}",
        f"{plan.run_seconds / 3600:.1f}",
        f"{plan.checkpoint_bytes / 1e9:.1f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"
