"""Weighting schemes: `TokenBatch` -> weights, [B, T]. One file each."""

from __future__ import annotations

import dataclasses
from typing import Any

from toolrest.core.regions import Region
from toolrest.core.registry import add_named
from toolrest.core.weights.actfocus import ActFocus
from toolrest.core.weights.base import Scheme, TokenBatch, TokenStatistics, normalise
from toolrest.core.weights.contrast import Contrast
from toolrest.core.weights.entropy import RegionEntropy, Statistic
from toolrest.core.weights.gtpo import Gtpo
from toolrest.core.weights.official import Official
from toolrest.core.weights.product import Product
from toolrest.core.weights.region_signal import RegionSignal
from toolrest.core.weights.regional import Regional
from toolrest.core.weights.rest import EntropyRule, Rest
from toolrest.core.weights.signal_aware import SignalAware
from toolrest.core.weights.stare import Stare
from toolrest.core.weights.top_entropy import TopEntropy
from toolrest.core.weights.uniform import Uniform
from toolrest.errors import InputError, check_name, look_up, unknown_name

_SCHEMES: dict[str, type[Scheme]] = {
    "uniform": Uniform,
    "rest": Rest,
    "official": Official,
    "stare": Stare,
    "top_entropy": TopEntropy,
    "gtpo": Gtpo,
    "actfocus": ActFocus,
    "contrast": Contrast,
    "regional": Regional,
    "signal": SignalAware,
}


def register_scheme(name: str, scheme: type[Scheme]) -> None:
    """Make a scheme of your own known to `get_scheme`, and with it to recipes and `ResTConfig`.

    Args:
        name: what recipes call it.
        scheme: a subclass of `Scheme`, a frozen dataclass whose fields are its options.

    Raises:
        InputError: another scheme has that name, or the class is no scheme.
    """
    if not (isinstance(scheme, type) and issubclass(scheme, Scheme)):
        raise InputError(f"register_scheme({name!r}): {scheme!r} is not a subclass of Scheme")
    add_named(_SCHEMES, "weighting scheme", name, scheme)


def get_scheme(name: str, /, **options: Any) -> Scheme:
    """The scheme of that name with the given options.

    Args:
        name: of one scheme, or of several with `*` between: their product.
        options: of the scheme; of a product, a dictionary for each scheme by its name.

    Raises:
        InputError: there is no such scheme or option, or the option's value does not fit.
    """
    names = name.split("*")
    if len(names) == 1:
        return _one_scheme(name, options)
    for option, values in options.items():
        check_name(f"scheme in the product {name!r}", option, names)
        if not isinstance(values, dict):
            raise InputError(
                f"weighting scheme {name!r}: {option}={values!r} must be that scheme's options, "
                f"as in {option}: {{share: 0.2}}"
            )
    try:
        return Product(tuple(_one_scheme(part, options.get(part, {})) for part in names))
    except ValueError as error:
        raise InputError(f"weighting scheme {name!r}: {error}") from error


def _one_scheme(name: str, options: dict[str, Any]) -> Scheme:
    scheme = look_up("weighting scheme", name, _SCHEMES)
    known = {field.name: field for field in dataclasses.fields(scheme) if field.init}
    for option, value in options.items():
        check_name(f"option of weighting scheme {name!r}", option, known)
        if isinstance(known[option].default, Region):
            options = options | {option: _region(name, option, value)}
        else:
            _check(name, option, known[option].default, value)
    try:
        return scheme(**options)
    except (TypeError, ValueError) as error:
        raise InputError(f"weighting scheme {name!r}: {error}") from error


def _region(scheme: str, option: str, value: object) -> Region:
    """A region by its name."""
    names = {region.name.lower(): region for region in Region}
    if isinstance(value, Region):
        return value
    if not isinstance(value, str) or value.lower() not in names:
        raise InputError(
            unknown_name(f"{option} of weighting scheme {scheme!r}", str(value), names)
        )
    return names[value.lower()]


def _check(scheme: str, option: str, default: object, value: object) -> None:
    """The value must be of its default's kind, where it has one."""
    if default is dataclasses.MISSING or default is None:
        return
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
    "ActFocus",
    "Contrast",
    "EntropyRule",
    "Gtpo",
    "Official",
    "Product",
    "RegionEntropy",
    "RegionSignal",
    "Regional",
    "Rest",
    "Scheme",
    "SignalAware",
    "Stare",
    "Statistic",
    "TokenBatch",
    "TokenStatistics",
    "TopEntropy",
    "Uniform",
    "get_scheme",
    "normalise",
    "register_scheme",
    "scheme_names",
]
