"""Records of what TRL's trainers log, one a step."""

from __future__ import annotations

import time

from transformers import TrainerCallback

from toolrest.engines.common.job import OnStep


class Progress(TrainerCallback):
    """Calls `on_step` with each step's metrics and the seconds since training began.

    Args:
        on_step: called in process 0 alone.
        seconds: those that a resumed run took before.
    """

    def __init__(self, on_step: OnStep, seconds: float = 0.0) -> None:
        self.on_step = on_step
        self.started = time.monotonic() - seconds

    def on_log(self, args, state, control, logs=None, **rest):
        if logs and "grad_norm" in logs and state.is_world_process_zero:
            seconds = time.monotonic() - self.started
            self.on_step(state.global_step, {"seconds": seconds, **logs})
