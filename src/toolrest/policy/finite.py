"""Checks that a policy's weights are finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolrest.errors import InputError, printable


def tensor_names(folder: Path) -> dict[Path, list[str]]:
    """{file: names of its tensors} of a folder's safetensors files.

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
    """Check that all weights of a folder are finite, one tensor at a time.

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
    """Whether a tensor has neither NaN nor infinity; True for integers."""
    return not value.is_floating_point() or bool(value.isfinite().all())


def not_finite(place: object, name: str) -> str:
    """The error message for a tensor that is not finite."""
    return (
        f"{place}: the weights {printable(name)[:200]} have numbers that are not finite (NaN or "
        "infinity); take another checkpoint"
    )


def check_finite(model: Any, place: object, *, whole: bool = True) -> None:
    """Refuse a policy with a weight or a logit that is not finite.

    Args:
        place: where it is from, named in errors.
        whole: whether this process has all weights. Else it looks at those that it has, and
            computes no logit.

    Raises:
        InputError: naming the tensor.
    """
    import torch

    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        here = value if whole else getattr(value, "ds_tensor", value)
        if not here.is_meta and not is_finite(here):
            raise InputError(not_finite(place, name))
    if not whole:
        return
    with torch.no_grad():
        logits = model(input_ids=torch.zeros(1, 2, dtype=torch.long, device=model.device)).logits
    if not bool(torch.isfinite(logits).all()):
        raise InputError(
            f"{place}: the policy computes numbers that are not finite (NaN or infinity) from "
            "weights that are; look at its config.json"
        )
