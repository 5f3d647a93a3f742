"""Dialects: how a model writes a thought, tool calls and a response. One file each."""

from toolrest.core.dialects.base import Block, Dialect, ParseStatus, Reply, Scan, Span, ToolCall
from toolrest.core.dialects.deepseek import DeepSeekV3, DeepSeekV31
from toolrest.core.dialects.deepseek_dsml import DeepSeekV4, DeepSeekV32, DeepSeekV41
from toolrest.core.dialects.detect import detect_dialect
from toolrest.core.dialects.functiongemma import FunctionGemma
from toolrest.core.dialects.gemma4 import Gemma4
from toolrest.core.dialects.glm import GLM
from toolrest.core.dialects.gpt_oss import GptOss
from toolrest.core.dialects.hermes import Hermes
from toolrest.core.dialects.kimi import Kimi
from toolrest.core.dialects.lfm2 import LFM2
from toolrest.core.dialects.llama3 import Llama3
from toolrest.core.dialects.minimax import MiniMax
from toolrest.core.dialects.mistral import Mistral, MistralV11
from toolrest.core.dialects.muse import Muse
from toolrest.core.dialects.pythonic import Pythonic
from toolrest.core.dialects.qwen_xml import QwenXML
from toolrest.core.dialects.rlla import RLLA
from toolrest.core.registry import add_named
from toolrest.errors import look_up

AUTO = "auto"
"""In a recipe: the dialect that the policy's chat template writes; see `detect_dialect`."""

_DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        *(RLLA(), Hermes(), QwenXML(), Llama3(), Mistral(), MistralV11(), Pythonic(), GptOss()),
        *(LFM2(), Gemma4(), FunctionGemma()),
        *(GLM(), MiniMax(), Muse()),
        *(DeepSeekV3(), DeepSeekV31(), DeepSeekV32(), DeepSeekV4(), DeepSeekV41(), Kimi()),
    )
}


def get_dialect(name: str) -> Dialect:
    """Return the dialect with this name.

    Args:
        name: one of `dialect_names()`.

    Raises:
        InputError: there is none; the text names the nearest known one.
    """
    return look_up("dialect", name, _DIALECTS)


def register_dialect(dialect: Dialect) -> None:
    """Make a dialect of your own known to `get_dialect`, and with it to recipes and `ResTConfig`.

    Args:
        dialect: known by its `name` from now on.

    Raises:
        InputError: another dialect has that name.
    """
    add_named(_DIALECTS, "dialect", dialect.name, dialect)


def dialect_names() -> tuple[str, ...]:
    """The names that `get_dialect` knows."""
    return tuple(_DIALECTS)


__all__ = [
    "AUTO",
    "Block",
    "Dialect",
    "ParseStatus",
    "Reply",
    "Scan",
    "Span",
    "ToolCall",
    "detect_dialect",
    "dialect_names",
    "get_dialect",
    "register_dialect",
]
