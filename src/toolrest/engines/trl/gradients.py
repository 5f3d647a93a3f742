"""A trainer that looks at the gradient before each step of its optimiser."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.distributed.tensor import DTensor

from toolrest.errors import InputError

if TYPE_CHECKING:
    from transformers import Trainer
else:
    Trainer = object


class CheckedGradients(Trainer):
    """Calls `_gradient_not_finite` instead of a step whose gradient has a NaN or an infinity.

    To be put before a trainer of transformers. The gradient is that of all processes and of all
    accumulated micro-batches, whether it is clipped (`max_grad_norm`) or not. With DeepSpeed the
    optimiser steps inside of the last backward, so it is looked at there.
    """

    _checked_engine: Any = None

    def _gradient_not_finite(self, model: torch.nn.Module) -> None:
        """Called in every process. It raises, or drops the gradient, but not with DeepSpeed."""
        raise NotImplementedError

    def training_step(self, *positional: Any, **keywords: Any) -> torch.Tensor:
        if self.is_deepspeed_enabled:
            self._check_engine()
        return super().training_step(*positional, **keywords)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The parent's, which is asked for before each step; with DeepSpeed after it."""
        norm: Any = super()._get_grad_norm(model, grad_norm)
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        broken = whole is not None and not math.isfinite(float(whole))
        if self._in_any_process(int(broken)):
            self._gradient_not_finite(model)
        return norm

    def _in_any_process(self, count: int) -> bool:
        """Whether a count is above 0 in one of the processes, each of which calls this."""
        here = torch.tensor([float(count)], device=self.accelerator.device)
        return bool(cast(torch.Tensor, self.accelerator.reduce(here, reduction="sum")).item())

    def _check_engine(self) -> None:
        """Put the look at the gradient in front of the step of DeepSpeed's engine.

        Raises:
            InputError: its optimiser cannot tell whether a gradient is finite.
        """
        wrapped = self.accelerator.deepspeed_engine_wrapped
        engine: Any = None if wrapped is None else wrapped.engine
        if engine is None or engine is self._checked_engine:
            return
        if not hasattr(engine.optimizer, "has_overflow"):
            raise InputError(
                f"DeepSpeed: {type(engine.optimizer).__name__} does not tell whether a gradient is "
                "finite before it steps, as those of ZeRO stage 1, 2 and 3 do; set zero_stage"
            )
        step = engine.step

        def checked(*positional: Any, **keywords: Any) -> Any:
            boundary = engine.is_gradient_accumulation_boundary()
            if boundary and self._in_any_process(int(engine.optimizer.has_overflow())):
                self._gradient_not_finite(engine)
            return step(*positional, **keywords)

        engine.step = checked
        self._checked_engine = engine
