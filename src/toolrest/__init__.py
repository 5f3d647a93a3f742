"""toolrest: reinforcement learning for tool use, with token weights from region entropies."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from toolrest.core.dialects import get_dialect, register_dialect
    from toolrest.core.regions import Region, label_tokens
    from toolrest.core.rewards.correctness import register_reward
    from toolrest.core.vocabulary import Vocabulary
    from toolrest.core.weights import (
        RegionEntropy,
        Scheme,
        TokenBatch,
        TokenStatistics,
        get_scheme,
        register_scheme,
    )
    from toolrest.engines.common.reward import ToolReward
    from toolrest.engines.trl.config import ResTConfig
    from toolrest.engines.trl.trainer import ResTTrainer
    from toolrest.errors import InputError

_HOME = {
    "InputError": "errors",
    "Region": "core.regions",
    "RegionEntropy": "core.weights",
    "ResTConfig": "engines.trl.config",
    "ResTTrainer": "engines.trl.trainer",
    "Scheme": "core.weights",
    "TokenBatch": "core.weights",
    "TokenStatistics": "core.weights",
    "ToolReward": "engines.common.reward",
    "Vocabulary": "core.vocabulary",
    "get_dialect": "core.dialects",
    "get_scheme": "core.weights",
    "label_tokens": "core.regions",
    "register_dialect": "core.dialects",
    "register_reward": "core.rewards.correctness",
    "register_scheme": "core.weights",
}

__all__ = [
    "InputError",
    "Region",
    "RegionEntropy",
    "ResTConfig",
    "ResTTrainer",
    "Scheme",
    "TokenBatch",
    "TokenStatistics",
    "ToolReward",
    "Vocabulary",
    "get_dialect",
    "get_scheme",
    "label_tokens",
    "register_dialect",
    "register_reward",
    "register_scheme",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import toolrest` costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'toolrest' has no attribute {name!r}")
    return getattr(import_module(f"toolrest.{_HOME[name]}"), name)
