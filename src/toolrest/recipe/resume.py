"""Which keys a resumed run may change."""

from __future__ import annotations

from toolrest.errors import InputError

RESUMABLE = (
    "guards",
    "optimizer.micro_batch",
    "optimizer.micro_tokens",
    "optimizer.prefix_sharing",
    "optimizer.gradient_checkpointing",
    "rollout.vllm.memory",
    "rollout.saved_groups",
    "evaluation.batch_size",
    "evaluation.patience",
    "collapse",
    "reward.timeout",
    "keep_checkpoints",
    "report_to",
)
"""What a resumed run may change: how it is computed, not what."""


EXTENSION = "max_steps"
"""What a run that goes on may raise: it is trained for longer; see `toolrest.runs.extension`."""


def extends(overrides: list[str]) -> bool:
    """Whether overrides ask for a longer run, or for one that ended early to go on."""
    keys = (EXTENSION, "evaluation.patience", "collapse.end")
    return any(written.partition("=")[0] in keys for written in overrides)


def may_change(key: str) -> bool:
    """Whether a resumed run may change a key."""
    return any(key == known or key.startswith(known + ".") for known in RESUMABLE)


def check_resumable(overrides: list[str]) -> None:
    """Refuse overrides that would make of a resumed run another one.

    Raises:
        InputError: naming what may be changed.
    """
    for written in overrides:
        key = written.partition("=")[0]
        if key != EXTENSION and not may_change(key):
            raise InputError(
                f"--resume {written}: a run goes on with its own recipe; only "
                f"{', '.join(RESUMABLE)} may be changed, and {EXTENSION} raised"
            )
