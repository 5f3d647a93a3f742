"""Checks the fields of a policy's JSON files: no code, no outside files, no absurd numbers.

Fields that say how a policy is computed are checked here; `toolrest.policy.weights` passes its own
values in their place.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from toolrest.errors import InputError, printable, short

VOCABULARIES = ("vocab", "merges")
"""Fields that hold a vocabulary or name its file, as fields named `*_file` do."""
SIZE_LIMITS = {".json": 256 << 20, ".model": 256 << 20, ".txt": 256 << 20, ".jinja": 1 << 20}
"""Most bytes of files that are read whole, by suffix."""
_DEEPEST = 30
_MOST_NUMBER = 1 << 62
"""The greatest integer of a field; `model_max_length` may be greater, which means no limit."""
_ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
_EXPERTS = ("eager", "batched_mm", "grouped_mm")
_DTYPES = ("auto", "float64", "float32", "float16", "bfloat16")
_CHOICES = {
    **dict.fromkeys(("attn_implementation", "_attn_implementation"), _ATTENTION),
    **dict.fromkeys(("experts_implementation", "_experts_implementation"), _EXPERTS),
    **dict.fromkeys(("torch_dtype", "dtype"), _DTYPES),
}
"""Allowed values of fields that say how the policy is computed; our own are passed instead."""
_QUANTISED = "quantised weights are not read; take the policy's unquantised ones"
_NEVER = {
    "assistant_model": "it names another policy",
    "backbone": "it names another policy",
    "compression_config": _QUANTISED,
    "custom_generate": "it names code",
    "distributed_config": "how processes share a policy is the recipe's to say",
    "fusion_config": "it names code",
    "gguf_file": "it names another file of weights",
    "init_inputs": "it sets what the tokenizer is made of",
    "jumanpp_kwargs": "it names files",
    "kernel_config": "it names code",
    "mecab_kwargs": "it names files",
    "quantization_config": _QUANTISED,
    "sudachi_kwargs": "it names files",
    "transformers_weights": "it names another file of weights",
    "use_kernels": "it asks for code from the hub",
    "use_pretrained_backbone": "it names another policy",
    "use_timm_backbone": "it names another policy",
}
"""Refused fields, and the reason."""
_OF_THE_CLASS = (
    *("sub_configs", "attribute_map", "base_config_key", "extra_files", "_auto_class"),
    *("has_no_defaults_at_init", "base_model_prefix"),
)
"""Class attributes of a configuration, which a file must not set."""
_LEFT_OVER = ("special_tokens_map_file", "name_or_path", "_name_or_path")
"""Paths on the machine where the policy was saved; nothing reads them."""


def iterate_fields(
    value: Any, path: Path, depth: int = 0, under: str = ""
) -> Iterator[tuple[str, Any]]:
    """All (key, value) of a nested object; items of a list have the list's key."""
    if depth > _DEEPEST:
        raise InputError(f"{path}: over {_DEEPEST} levels deep")
    for key, each in value.items() if isinstance(value, dict) else ((under, v) for v in value):
        yield key, each
        if isinstance(each, dict | list):
            yield from iterate_fields(each, path, depth + 1, key)


def check_field(path: Path, key: str, value: Any) -> None:
    """Refuse a field that names code or an outside file, or has an absurd value.

    Raises:
        InputError: naming the file, the field and why.
    """
    if key in _NEVER and value not in (None, False) and value != [] and value != {}:
        raise InputError(f"{path}: {key}={short(value)}: {_NEVER[key]}")
    if key in _CHOICES and not _is_choice(value, _CHOICES[key]):
        raise InputError(
            f"{path}: {key}={short(value)}: not one of {', '.join(_CHOICES[key])}; take it out"
        )
    large = isinstance(value, int) and abs(value) > _MOST_NUMBER and key != "model_max_length"
    if large or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(f"{path}: {short(key)}={short(value)} is no number to reckon with")
    if key.endswith(("_file", "_path", "_dir")) and key not in _LEFT_OVER:
        _check_place(path, key, value)


def _is_choice(value: Any, known: tuple[str, ...]) -> bool:
    """Whether a value is a known name, None, or a dictionary of these by part."""
    if isinstance(value, dict):
        return all(_is_choice(each, known) for each in value.values())
    return value is None or (isinstance(value, str) and value in known)


def _check_place(path: Path, key: str, value: Any) -> None:
    """Refuse a path that leads out of the folder."""
    for named in _places(path, value):
        if not named.is_relative_to(os.path.realpath(path.parent)):
            raise InputError(
                f"{path}: {key}={short(value)}: a place outside of the folder; take it out"
            )


def _places(path: Path, value: Any) -> Iterator[Path]:
    """Existing paths that a name can mean, links followed: relative to the working folder and to
    the file's folder.
    """
    if not isinstance(value, str):
        return
    for start in (Path(), path.parent):
        try:
            named = Path(os.path.realpath(start / value))
            if named.exists():
                yield named
        except (OSError, ValueError):
            continue


def check_vocabulary(path: Path, key: str, value: Any) -> None:
    """Refuse a tokenizer's field that names a file, unless the file lies in the folder itself,
    where it is checked and part of the policy's fingerprint.
    """
    if key in _LEFT_OVER:
        return
    reads = key in VOCABULARIES or key.endswith(("_file", "_files"))
    if reads and isinstance(value, int):
        raise InputError(
            f"{path}: {printable(key)[:60]}={short(value)} is no file's name; take it out"
        )
    if not isinstance(value, str) or (not reads and not {"/", os.sep} & {*value}):
        return
    folder = Path(os.path.realpath(path.parent))
    beside = all(
        (named.is_file() and named.parent == folder and _counts(named.name))
        or (named.is_dir() and not reads)
        for named in _places(path, value)
    )
    if not beside or (reads and "://" in value):
        raise InputError(
            f"{path}: {printable(key)[:60]}={short(value)}: no file that lies in the folder, of a "
            "name that a vocabulary has (.json, .model or .txt); take it out"
        )


def _counts(name: str) -> bool:
    """Whether a file of this name has a size limit and is part of the fingerprint."""
    return name.endswith(tuple(SIZE_LIMITS)) and not name.startswith(".") and "_state." not in name


def check_config(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse a model_type that is no language model of transformers, and fields that replace parts
    of its class.
    """
    from transformers import PretrainedConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        own = (
            ", and its own code runs with --trust-remote-code alone" if "auto_map" in config else ""
        )
        raise InputError(
            f"{path}: model_type={short(kind)} is no language model of transformers{own}"
        )
    for key in config:
        inner = key in _OF_THE_CLASS or key.startswith("__")
        if inner or callable(getattr(PretrainedConfig, key, None)):
            raise InputError(f"{path}: {key} is no setting of a policy; take it out")


def check_tokenizer_class(path: Path, name: Any) -> None:
    """Refuse a tokenizer_class that is something else than a tokenizer in transformers."""
    if name is None:
        return
    if not isinstance(name, str):
        raise InputError(f"{path}: tokenizer_class={short(name)} is no name")
    from transformers import PreTrainedTokenizerBase
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    try:
        found = tokenizer_class_from_name(name)
    except Exception as error:  # what an import of a module that lacks a package ends in
        raise InputError(f"{path}: tokenizer_class={short(name)}: {error}") from error
    tokenizer = isinstance(found, type) and issubclass(found, PreTrainedTokenizerBase)
    if found is not None and not tokenizer:
        raise InputError(f"{path}: tokenizer_class={short(name)} is no tokenizer")
