"""What a policy's folder may hold: each file is checked before a library reads it.

Refused is all that would make transformers run code, read a pickle, read a file outside of the
folder or ask the hub, and all that it would ignore.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from toolrest.errors import InputError, short
from toolrest.io.objects import given_object
from toolrest.policy.adapters import has_adapters
from toolrest.policy.finite import tensor_names
from toolrest.policy.safe_fields import (
    SIZE_LIMITS,
    VOCABULARIES,
    check_config,
    check_field,
    check_tokenizer_class,
    check_vocabulary,
    iterate_fields,
)

INDEX = "model.safetensors.index.json"
JSON_FILES = (
    *("config.json", "generation_config.json", "tokenizer_config.json", INDEX),
    *("special_tokens_map.json", "added_tokens.json"),
)
"""Files whose fields are checked."""
_OF_THE_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json")
_PICKLES = (
    *("*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib"),
    *("*.dill", "*.distcp", ".metadata"),
)
_TRAINING_STATE = (
    *("optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state*.pth"),
    *("training_args.bin", "pytorch_model_fsdp*.bin"),
)
"""Pickles that trainers leave in a checkpoint; no loader of a policy reads them."""
_SHARDED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
"""Weights of torch's distributed checkpoints, for which transformers has another loader."""
_LAYERS = re.compile(r"n_layers?|num_(?:hidden_|decoder_|encoder_)?layers|(?:de|en)coder_layers")


def check_policy_folder(folder: Path, *, trusted: bool = False, from_hub: bool = False) -> None:
    """Check every file of a policy's folder that transformers would read.

    Args:
        trusted: whether code that comes with the policy may run, so that it may name its own
            classes.
        from_hub: whether the folder is the hub's cache, where pickles may lie beside the weights;
            nothing reads them there either.

    Raises:
        InputError: naming the file, the field and why.
    """
    for path in _entries(folder):
        _check_entry(path, from_hub)
    values = {name: given_object(folder / name) for name in JSON_FILES if (folder / name).exists()}
    for name, found in values.items():
        for key, value in iterate_fields(found, folder / name):
            check_field(folder / name, key, value)
            if name in _OF_THE_TOKENIZER:
                check_vocabulary(folder / name, key, value)
    for path in sorted(folder.glob("tokenizer*.json")):
        if path.name not in JSON_FILES:
            _check_inline(path)
    index = values.get(INDEX)
    if index is not None:
        _check_index(folder, index)
    config = values.get("config.json")
    if config is not None and not trusted:
        check_config(folder / "config.json", config)
    if config is not None and not has_adapters(folder):
        _check_layers(folder, config)
    if not trusted:
        for name in ("config.json", "tokenizer_config.json"):
            check_tokenizer_class(folder / name, values.get(name, {}).get("tokenizer_class"))


def _entries(folder: Path) -> list[Path]:
    """The folder's files, and those in subfolders that loaders read."""
    try:
        below = [*folder.glob("*/adapter_model.*"), *folder.glob("additional_chat_templates/*")]
        return sorted([*folder.iterdir(), *below])
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error


def _check_entry(path: Path, from_hub: bool) -> None:
    """Refuse a file that is a pickle, no regular file, or too large."""
    name = path.name
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    mode, size = found.st_mode, found.st_size
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{path}: neither a file nor a folder; take it out")
    if stat.S_ISDIR(mode) and name.endswith((".safetensors", *SIZE_LIMITS)):
        raise InputError(f"{path}: a folder, not a file; take it out")
    if stat.S_ISDIR(mode):
        return
    most = next((most for ending, most in SIZE_LIMITS.items() if name.endswith(ending)), None)
    if most is not None and size > most:
        raise InputError(f"{path}: {size >> 20} MiB, more than {most >> 20} MiB; take it out")
    state = any(fnmatch(name, each) for each in _TRAINING_STATE)
    if not from_hub and not state and any(fnmatch(name.lower(), each) for each in _PICKLES):
        raise InputError(
            f"{path}: pickled weights are not read; save the policy as safetensors, and take this "
            "file out of the folder"
        )
    if _SHARDED.fullmatch(name):
        raise InputError(f"{path}: a part of a distributed checkpoint, which is not read")


def refuse_inner_adapters(checkpoint: Path) -> None:
    """Refuse adapters in subfolders of a checkpoint, which a resumed trainer would read.

    Raises:
        InputError: there are some.
    """
    for path in sorted(checkpoint.glob("*/adapter_model.*")):
        raise InputError(f"{path}: adapters in a folder of a checkpoint; take them out")


def _check_inline(path: Path) -> None:
    """Refuse a tokenizer.json whose vocabulary is a text, since it would name another file."""
    model = given_object(path).get("model")
    for key, value in model.items() if isinstance(model, dict) else ():
        if key in VOCABULARIES and not isinstance(value, dict | list | None):
            raise InputError(f"{path}: {key}={short(value)} is no vocabulary; copy the file again")


def _check_index(folder: Path, index: Mapping[str, Any]) -> None:
    """Refuse an index of weights that names files outside of the folder."""
    parts = index.get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise InputError(f"{folder / INDEX}: no weight_map")
    for name in parts.values():
        plain = isinstance(name, str) and Path(name).name == name and "\\" not in name
        if not plain or not name.endswith(".safetensors"):
            raise InputError(
                f"{folder / INDEX}: {short(name)} is no .safetensors file of the folder"
            )
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: missing, but named in {INDEX}")


def _check_layers(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse more layers than tensors: building billions of layers would never end."""
    tensors = None
    for key, value in iterate_fields(config, folder / "config.json"):
        if not _LAYERS.fullmatch(key) or not isinstance(value, int):
            continue
        if tensors is None:
            tensors = sum(len(names) for names in tensor_names(folder).values())
        if tensors and value > tensors:
            raise InputError(
                f"{folder / 'config.json'}: {key}={short(value)}, but the weights have "
                f"{tensors} tensors"
            )
