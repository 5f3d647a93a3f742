"""Reads untrusted low-rank adapters, checks them against their base, and merges them.

Only plain LoRA (arXiv 2106.09685) is taken. What else an `adapter_config.json` can ask for names
code, places or patterns, and is refused; nothing of the file is handed to peft.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrest.errors import InputError, printable, short
from toolrest.io.objects import given_object

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_MODULE = re.compile(r"[A-Za-z0-9_.-]{1,200}+")
_MOST_RANK = 1 << 16
_LOOKED_AT = frozenset(
    {
        *("base_model_name_or_path", "init_lora_weights", "lora_alpha", "peft_type", "r"),
        *("target_modules", "use_rslora"),
    }
)
_CHANGES_NOTHING = frozenset(
    {
        *("auto_mapping", "ensure_weight_tying", "fan_in_fan_out", "inference_mode"),
        *("layers_pattern", "loftq_config", "lora_dropout", "megatron_core", "peft_version"),
        *("qalora_group_size", "revision", "runtime_config", "task_type"),
    }
)
"""Fields that have no effect on plain adapters; they are ignored."""
_STARTS = (True, False, None, "gaussian", "orthogonal")
"""Values of `init_lora_weights` that do not change the base."""


@dataclass(frozen=True)
class Adapters:
    """Plain low-rank adapters: W + scale B A at each of their modules."""

    folder: Path
    """Where they are."""
    rank: int
    """Rows of A, columns of B."""
    scale: float
    """alpha / rank, or alpha / sqrt(rank) (rsLoRA)."""
    targets: tuple[str, ...]
    """Modules' names, whole or from a dot on."""


def has_adapters(folder: Path) -> bool:
    """Whether the folder holds low-rank adapters and not a whole policy."""
    return (folder / CONFIG).exists()


def require_peft() -> None:
    """Check that peft is installed.

    Raises:
        InputError: peft is not installed.
    """
    if find_spec("peft") is None:
        raise InputError("low-rank adapters need peft: pip install 'toolrest[lora]'")


def read_adapters(folder: Path) -> Adapters:
    """The adapters of a folder, from its `adapter_config.json`.

    Raises:
        InputError: it cannot be read, or asks for more than plain LoRA, or the folder has no
            `adapter_model.safetensors`.
    """
    path = folder / CONFIG
    values = adapter_values(folder)
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder}: adapters without {WEIGHTS}; weights are read from that alone")
    if values.get("peft_type") != "LORA":
        raise _refused(path, "peft_type", values.get("peft_type"))
    start = values.get("init_lora_weights")
    if not isinstance(start, bool | str | None) or start not in _STARTS:
        raise _refused(path, "init_lora_weights", start)
    for key, value in values.items():
        unset = not value or value == "none"
        if key not in _LOOKED_AT | _CHANGES_NOTHING and not unset:
            raise _refused(path, key, value)
    rank, alpha = values.get("r"), values.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or not 0 < rank < _MOST_RANK:
        raise InputError(f"{path}: r={short(rank)} is no rank")
    if not isinstance(alpha, int | float) or not abs(alpha) < math.inf:
        raise InputError(f"{path}: lora_alpha={short(alpha)} is no number")
    scale = alpha / (math.sqrt(rank) if values.get("use_rslora") else rank)
    return Adapters(folder, rank, scale, _targets(path, values.get("target_modules")))


def adapter_values(folder: Path) -> dict[str, Any]:
    """A folder's `adapter_config.json` as plain values.

    Raises:
        InputError: it cannot be read.
    """
    return given_object(folder / CONFIG)


def merge_adapters(model: PreTrainedModel, adapters: Adapters) -> None:
    """Add scale B A to the weights of the adapters' modules, in place.

    Raises:
        InputError: the file lacks a weight of a module, has others, or one of another shape or
            with a number that is not finite.
    """
    import torch

    parts = read_weights(adapters)
    check_weights(adapters, parts, expected_shapes(model, adapters))
    modules = dict(model.named_modules())
    with torch.no_grad():
        for name in (key.removesuffix(".lora_A.weight") for key in parts if ".lora_A." in key):
            module: Any = modules[name.removeprefix(_PREFIX)]
            after = parts[f"{name}.lora_B.weight"].to(module.weight)
            delta = after @ parts[f"{name}.lora_A.weight"].to(module.weight) * adapters.scale
            module.weight += delta.T if _is_transposed(module) else delta


def expected_shapes(model: PreTrainedModel, adapters: Adapters) -> dict[str, tuple[int, ...]]:
    """{name in the file: shape} of the tensors that the adapters must have on this base.

    Raises:
        InputError: a module that is named is no linear layer, or none is named.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_modules():
        if not any(name == each or name.endswith(f".{each}") for each in adapters.targets):
            continue
        weight = getattr(module, "weight", None)
        if weight is None or weight.dim() != 2 or type(module).__name__ not in _LINEAR:
            raise InputError(f"{adapters.folder / CONFIG}: {printable(name)} is no linear layer")
        outputs, inputs = weight.shape[::-1] if _is_transposed(module) else weight.shape
        shapes[f"{_PREFIX}{name}.lora_A.weight"] = (adapters.rank, inputs)
        shapes[f"{_PREFIX}{name}.lora_B.weight"] = (outputs, adapters.rank)
    if not shapes:
        raise InputError(
            f"{adapters.folder / CONFIG}: its base has no module named as in target_modules"
        )
    return shapes


_LINEAR = ("Linear", "Conv1D")


def _is_transposed(module: object) -> bool:
    """Whether a layer's matrix is [inputs, outputs], as GPT-2's are."""
    return type(module).__name__ == "Conv1D"


def read_weights(adapters: Adapters) -> dict[str, Tensor]:
    """{name: tensor} of the adapters' file.

    Raises:
        InputError: it is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = adapters.folder / WEIGHTS
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def check_weights(
    adapters: Adapters, found: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Check the tensors of a file against the expected names and shapes.

    Raises:
        InputError: one is missing, another is there, or one has another shape or is not finite.
    """
    import torch

    path = adapters.folder / WEIGHTS
    for names, said in (
        (expected.keys() - found.keys(), "missing"),
        (found.keys() - expected.keys(), "of no module"),
    ):
        if names:
            raise InputError(
                f"{path}: {len(names)} of its weights are {said}, such as "
                f"{printable(min(names))[:200]}; the policy that was trained is not in this folder"
            )
    for name, value in found.items():
        if tuple(value.shape) != expected[name]:
            raise InputError(
                f"{path}: {name} is {list(value.shape)}, its base needs {list(expected[name])}"
            )
        if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            raise InputError(f"{path}: {name} has numbers that are not finite")


def _targets(path: Path, targets: Any) -> tuple[str, ...]:
    """The modules' names; patterns are refused, since matching one could take for ever."""
    if not isinstance(targets, list) or not targets:
        raise InputError(
            f"{path}: target_modules={short(targets)} is no list of modules' names; a pattern is "
            "not matched, so write the names that it stands for"
        )
    for name in targets:
        if not isinstance(name, str) or not _MODULE.fullmatch(name):
            raise InputError(f"{path}: target_modules: {short(name)} is no module's name")
    return tuple(targets)


def _refused(path: Path, key: str, value: Any) -> InputError:
    return InputError(
        f"{path}: {printable(key)[:100]}={short(value)} is more than plain LoRA; merge these "
        "adapters into their policy where they were made, and take the whole policy"
    )
