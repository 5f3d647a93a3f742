"""Code that comes with a policy: whether loading it needs some, and what of it a folder names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrest.io.files import read_json, write_json

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_MAP = "auto_map"
"""The field by which transformers finds a class: {auto class: `module.Class`, or a slow and a fast
tokenizer's}; `owner/name--module.Class` is in a repository of the hub.
"""
_FILES = ("config.json", "tokenizer_config.json")
_LOADED = frozenset(("AutoConfig", "AutoModelForCausalLM"))


def needs_own_code(
    config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, *, trusted: bool
) -> bool:
    """Whether a policy was loaded by code that came with it.

    Args:
        trusted: whether such code may run; else transformers' own classes were taken.
    """
    named = getattr(config, _MAP, None) or {}
    own_tokenizer = getattr(type(tokenizer), "_auto_class", None) is not None
    return trusted and (not _LOADED.isdisjoint(named) or own_tokenizer)


def names_own_code(folder: Path) -> bool:
    """Whether a policy's folder names classes of its own.

    Raises:
        OSError: a file cannot be read.
        ValueError: it is no JSON.
    """
    return any(_named(folder / name) for name in _FILES)


def leave_what_is_there(folder: Path) -> None:
    """Take out of a folder that we wrote the names of classes whose code is not in it.

    transformers saves the code of the classes that were loaded, and the names of all. A folder that
    names what it lacks does not load for whoever trusts it, servers included.

    Raises:
        OSError: a file cannot be read or written.
    """
    for path in (folder / name for name in _FILES):
        named = _named(path)
        kept = {key: value for key, value in named.items() if _is_there(folder, value)}
        if kept != named:
            values = read_json(path)
            values.pop(_MAP)
            write_json(path, values | ({_MAP: kept} if kept else {}))


def _named(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.is_file() else {}
    named = found.get(_MAP) if isinstance(found, dict) else None
    if isinstance(named, list):  # of older tokenizers, which name themselves alone
        return {"AutoTokenizer": named}
    return named if isinstance(named, dict) else {}


def _is_there(folder: Path, value: Any) -> bool:
    names = [each for each in (value if isinstance(value, list) else [value]) if each is not None]
    return bool(names) and all(
        isinstance(each, str)
        and "--" not in each
        and (folder / f"{each.split('.')[0]}.py").is_file()
        for each in names
    )
