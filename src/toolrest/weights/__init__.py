"""Weighting schemes: (regions, mask, entropy, progress) -> weights [B, T]. One file each."""

from __future__ import annotations

import dataclasses
from typing import Any

from toolrest.errors import InputError
from toolrest.naming import unknown_name
from toolrest.weights.base import Scheme, normalise
from toolrest.weights.entropy import RegionEntropy, Statistic
from toolrest.weights.official import Official
from toolrest.weights.rest import EntropyRule, Rest
from toolrest.weights.uniform import Uniform

_SCHEMES: dict[str, type[Scheme]] = {"uniform": Uniform, "rest": Rest, "official": Official}


def get_scheme(name: str, **options: Any) -> Scheme:
    """The scheme of that name with the given options.

    Raises:
        InputError: there is no such scheme or option, or the option's value does not fit.
    """
    if name not in _SCHEMES:
        raise InputError(unknown_name("weighting scheme", name, _SCHEMES))
    scheme = _SCHEMES[name]
    known = {field.name: field for field in dataclasses.fields(scheme)}  # type: ignore[arg-type]
    for option, value in options.items():
        if option not in known:
            raise InputError(unknown_name(f"option of weighting scheme {name!r}", option, known))
        _check(name, option, known[option].default, value)
    try:
        return scheme(**options)
    except ValueError as error:
        raise InputError(f"weighting scheme {name!r}: {error}") from error


def _check(scheme: str, option: str, default: object, value: object) -> None:
    """The value must be of its default's kind."""
    number = isinstance(default, int | float) and not isinstance(default, bool)
    fits = (
        isinstance(value, int | float) and not isinstance(value, bool)
        if number
        else isinstance(value, type(default)) or isinstance(default, str)
    )
    if not fits:
        raise InputError(
            f"weighting scheme {scheme!r}: {option}={value!r} is not of the kind of its default, "
            f"{default!r}"
        )


def scheme_names() -> tuple[str, ...]:
    """The names that `get_scheme` knows."""
    return tuple(_SCHEMES)


__all__ = [
    "EntropyRule",
    "Official",
    "RegionEntropy",
    "Rest",
    "Scheme",
    "Statistic",
    "Uniform",
    "get_scheme",
    "normalise",
    "scheme_names",
]
