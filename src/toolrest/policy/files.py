"""What a policy's folder may hold: looked at before a library reads it.

Refused is all that would have transformers run code, read a pickle, read a file outside of the
folder or ask the hub, and what would be ignored. Settings that say how a policy is computed are
checked here, and `toolrest.policy.load` passes its own.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from toolrest.errors import InputError, printable, short
from toolrest.io.files import read_json
from toolrest.policy.adapters import has_adapters

INDEX = "model.safetensors.index.json"
JSON_FILES = (
    *("config.json", "generation_config.json", "tokenizer_config.json", INDEX),
    *("special_tokens_map.json", "added_tokens.json"),
)
"""Files of a policy's folder whose fields are looked at."""
_OF_THE_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json")
_VOCABULARIES = ("vocab", "merges")
"""Fields that hold a vocabulary, or name a file of one, as those named `*_file` do."""
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
_MOST = {".json": 256 << 20, ".model": 256 << 20, ".txt": 256 << 20, ".jinja": 1 << 20}
"""Bytes of files that are read whole, by their names' endings."""
_DEEPEST = 30
_MOST_NUMBER = 1 << 62
"""Of a whole number; that of `model_max_length` stands for none."""
_LAYERS = re.compile(r"n_layers?|num_(?:hidden_|decoder_|encoder_)?layers|(?:de|en)coder_layers")
_ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
_EXPERTS = ("eager", "batched_mm", "grouped_mm")
_DTYPES = ("auto", "float64", "float32", "float16", "bfloat16")
_CHOICES = {
    **dict.fromkeys(("attn_implementation", "_attn_implementation"), _ATTENTION),
    **dict.fromkeys(("experts_implementation", "_experts_implementation"), _EXPERTS),
    **dict.fromkeys(("torch_dtype", "dtype"), _DTYPES),
}
"""What a file may say of how its policy is computed, in place of which ours is passed."""
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
"""Fields that are refused wherever they are set, and why."""
_OF_THE_CLASS = (
    *("sub_configs", "attribute_map", "base_config_key", "extra_files", "_auto_class"),
    *("has_no_defaults_at_init", "base_model_prefix"),
)
"""What a configuration's class says of itself."""
_LEFT_OVER = ("special_tokens_map_file", "name_or_path", "_name_or_path")
"""Places on the machine where a policy was saved; nobody reads them."""


def check_policy_folder(folder: Path, *, trusted: bool = False, from_hub: bool = False) -> None:
    """Look at every file of a policy's folder that transformers would read.

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
    values = {name: _object(folder / name) for name in JSON_FILES if (folder / name).exists()}
    for name, found in values.items():
        for key, value in _fields(found, folder / name):
            _check_field(folder / name, key, value)
            if name in _OF_THE_TOKENIZER:
                _check_vocabulary(folder / name, key, value)
    for path in sorted(folder.glob("tokenizer*.json")):
        if path.name not in JSON_FILES:
            _check_inline(path)
    index = values.get(INDEX)
    if index is not None:
        _check_index(folder, index)
    config = values.get("config.json")
    if config is not None and not trusted:
        _check_config(folder / "config.json", config)
    if config is not None and not has_adapters(folder):
        _check_layers(folder, config)
    if not trusted:
        for name in ("config.json", "tokenizer_config.json"):
            _check_tokenizer_class(folder / name, values.get(name, {}).get("tokenizer_class"))


def _entries(folder: Path) -> list[Path]:
    """The folder's files, and those of folders in it that loaders look into."""
    try:
        below = [*folder.glob("*/adapter_model.*"), *folder.glob("additional_chat_templates/*")]
        return sorted([*folder.iterdir(), *below])
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error


def _check_entry(path: Path, from_hub: bool) -> None:
    """Refuse what would be waited for, what has no end, and pickles."""
    name = path.name
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    mode, size = found.st_mode, found.st_size
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{path}: neither a file nor a folder; take it out")
    if stat.S_ISDIR(mode) and name.endswith((".safetensors", *_MOST)):
        raise InputError(f"{path}: a folder, not a file; take it out")
    if stat.S_ISDIR(mode):
        return
    most = next((most for ending, most in _MOST.items() if name.endswith(ending)), None)
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
    """A trainer that goes on reads adapters from folders of a checkpoint too.

    Raises:
        InputError: there are some.
    """
    for path in sorted(checkpoint.glob("*/adapter_model.*")):
        raise InputError(f"{path}: adapters in a folder of a checkpoint; take them out")


def _object(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}, not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable JSON ({error}); copy the file once more") from error
    return found


def _fields(value: Any, path: Path, depth: int = 0, under: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of an object and of all that is in it; what a list holds has the list's key."""
    if depth > _DEEPEST:
        raise InputError(f"{path}: over {_DEEPEST} levels deep")
    for key, each in value.items() if isinstance(value, dict) else ((under, v) for v in value):
        yield key, each
        if isinstance(each, dict | list):
            yield from _fields(each, path, depth + 1, key)


def _check_field(path: Path, key: str, value: Any) -> None:
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
    """Whether it is a known name, none, or such for each part of a policy."""
    if isinstance(value, dict):
        return all(_is_choice(each, known) for each in value.values())
    return value is None or (isinstance(value, str) and value in known)


def _check_place(path: Path, key: str, value: Any) -> None:
    """Files are read from the folder itself."""
    for named in _places(path, value):
        if not named.is_relative_to(os.path.realpath(path.parent)):
            raise InputError(
                f"{path}: {key}={short(value)}: a place outside of the folder; take it out"
            )


def _places(path: Path, value: Any) -> Iterator[Path]:
    """What there is of a name, links followed: for a reader that looks for it from where the
    command runs, and for one that looks in the folder.
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


def _check_vocabulary(path: Path, key: str, value: Any) -> None:
    """Of a tokenizer no field, whatever it is called, names a file but those that lie in the folder
    itself, which are looked at and are part of the policy's fingerprint.
    """
    if key in _LEFT_OVER:
        return
    reads = key in _VOCABULARIES or key.endswith(("_file", "_files"))
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
    """Whether a file of that name is bounded in size, and a part of the fingerprint."""
    return name.endswith(tuple(_MOST)) and not name.startswith(".") and "_state." not in name


def _check_inline(path: Path) -> None:
    """A tokenizer's own file holds its vocabulary; words in its place would name another file."""
    model = _object(path).get("model")
    for key, value in model.items() if isinstance(model, dict) else ():
        if key in _VOCABULARIES and not isinstance(value, dict | list | None):
            raise InputError(f"{path}: {key}={short(value)} is no vocabulary; copy the file again")


def _check_index(folder: Path, index: Mapping[str, Any]) -> None:
    """Parts of the weights are files of the folder."""
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


def _check_config(path: Path, config: Mapping[str, Any]) -> None:
    """The class is one of transformers' own, and no field stands in for a part of it."""
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


def _check_layers(folder: Path, config: Mapping[str, Any]) -> None:
    """A policy has no more layers than tensors; one of billions would be made without end."""
    tensors = None
    for key, value in _fields(config, folder / "config.json"):
        if not _LAYERS.fullmatch(key) or not isinstance(value, int):
            continue
        if tensors is None:
            tensors = sum(len(names) for names in tensor_names(folder).values())
        if tensors and value > tensors:
            raise InputError(
                f"{folder / 'config.json'}: {key}={short(value)}, but the weights have "
                f"{tensors} tensors"
            )


def tensor_names(folder: Path) -> dict[Path, list[str]]:
    """The names of the tensors in each of a folder's safetensors files.

    Raises:
        InputError: one cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as file:
                found[path] = list(file.keys())
        except (OSError, SafetensorError, ValueError) as error:
            raise InputError(f"{path}: no readable safetensors ({error})") from error
    return found


def check_finite_files(folder: Path) -> None:
    """Read all weights of a folder, a tensor at a time.

    Raises:
        InputError: naming a tensor with a number that is not finite.
    """
    from safetensors import safe_open

    for path, names in tensor_names(folder).items():
        with safe_open(path, framework="pt") as file:
            for name in names:
                if not is_finite(file.get_tensor(name)):
                    raise InputError(not_finite(path, name))


def is_finite(value: Any) -> bool:
    """Whether a tensor has neither NaN nor infinity; numbers that cannot be either have none."""
    return not value.is_floating_point() or bool(value.isfinite().all())


def not_finite(place: object, name: str) -> str:
    """What is said of a tensor that is not finite."""
    return (
        f"{place}: the weights {printable(name)[:200]} have numbers that are not finite (NaN or "
        "infinity); take another checkpoint"
    )


def _check_tokenizer_class(path: Path, name: Any) -> None:
    """Where transformers has something of that name, it is a tokenizer and nothing else."""
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
