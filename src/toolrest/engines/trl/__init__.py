"""The TRL engine: GRPO with token weights, for one GPU or a few."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolrest.engines.trl.config import ResTConfig
    from toolrest.engines.trl.trainer import ResTTrainer

_HOME = {"ResTConfig": "config", "ResTTrainer": "trainer"}

__all__ = ["ResTConfig", "ResTTrainer"]


def __getattr__(name: str) -> Any:
    """Import on first use: the folder's other modules load without TRL."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
