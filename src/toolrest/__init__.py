"""toolrest: reinforcement learning for tool use, with token weights from region entropies."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from toolrest.core.dialects import get_dialect, register_dialect
    from toolrest.core.regions import Region, label_tokens
    from toolrest.core.vocabulary import Vocabulary
    from toolrest.core.weights import RegionEntropy, get_scheme
    from toolrest.engines.common.reward import ToolReward
    from toolrest.errors import InputError

_HOME = {
    "InputError": "toolrest.errors",
    "Region": "toolrest.core.regions",
    "RegionEntropy": "toolrest.core.weights",
    "ToolReward": "toolrest.engines.common.reward",
    "Vocabulary": "toolrest.core.vocabulary",
    "get_dialect": "toolrest.core.dialects",
    "get_scheme": "toolrest.core.weights",
    "register_dialect": "toolrest.core.dialects",
    "label_tokens": "toolrest.core.regions",
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
