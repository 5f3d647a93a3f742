"""toolrest: reinforcement learning for tool use, with token weights from region entropies."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from toolrest.dialects import get_dialect, register_dialect
    from toolrest.errors import InputError
    from toolrest.regions import Region, label_tokens
    from toolrest.rewards import ToolReward
    from toolrest.vocabulary import Vocabulary
    from toolrest.weights import RegionEntropy, get_scheme

_HOME = {
    "InputError": "toolrest.errors",
    "Region": "toolrest.regions",
    "RegionEntropy": "toolrest.weights",
    "ToolReward": "toolrest.rewards",
    "Vocabulary": "toolrest.vocabulary",
    "get_dialect": "toolrest.dialects",
    "get_scheme": "toolrest.weights",
    "register_dialect": "toolrest.dialects",
    "label_tokens": "toolrest.regions",
}

__all__ = [
    "InputError",
    "Region",
    "RegionEntropy",
    "ToolReward",
    "Vocabulary",
    "get_dialect",
    "get_scheme",
    "label_tokens",
    "register_dialect",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import toolrest` costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'toolrest' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
