"""Methods times learning rates, each a method of the comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolrest.errors import InputError
from toolrest.experiments.methods import Method

_KEY = "optimizer.learning_rate"
_TIMES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""The rates where none are said, in the recipe's own."""


@dataclass(frozen=True)
class Grid:
    """Methods and the learning rates that each is trained with."""

    methods: tuple[Method, ...]
    """The methods, without a rate."""
    rates: tuple[float, ...]
    """Learning rates, ascending."""

    def expand(self) -> tuple[Method, ...]:
        """Every method with every rate."""
        return tuple(with_rate(method, rate) for method in self.methods for rate in self.rates)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        methods = {method.name: list(method.overrides) for method in self.methods}
        return {"methods": methods, "rates": list(self.rates)}

    @classmethod
    def of(cls, values: dict[str, Any]) -> Grid:
        """What `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is not that.
        """
        methods = tuple(Method(name, tuple(o)) for name, o in values["methods"].items())
        return cls(methods, tuple(float(rate) for rate in values["rates"]))

    def joined(self, other: Grid) -> Grid:
        """The methods and rates of both."""
        known = {method.name for method in self.methods}
        added = tuple(method for method in other.methods if method.name not in known)
        return Grid(self.methods + added, tuple(sorted({*self.rates, *other.rates})))


def with_rate(method: Method, rate: float) -> Method:
    """The method with a learning rate; its name ends with it, as in `grpo-lr2e-4`."""
    written = written_rate(rate)
    return Method(f"{method.name}-lr{written}", (*method.overrides, f"{_KEY}={written}"))


def written_rate(rate: float) -> str:
    """A rate as in 2e-4 or 1.6e-3, whatever its size."""
    mantissa, exponent = f"{rate:.11e}".split("e")
    return f"{float(mantissa):.12g}e{int(exponent)}"


def read_rates(written: str | None, own: float) -> tuple[float, ...]:
    """Learning rates from `1e-4,2e-4`, ascending; None: 1/2, 1, 2, 4 and 8 times the recipe's own.

    Raises:
        InputError: fewer than two, one twice, or one that is no rate.
    """
    if written is None:
        return tuple(float(written_rate(times * own)) for times in _TIMES)
    try:
        given = [float(part) for part in written.split(",") if part.strip()]
    except ValueError:
        given = []
    known = all(rate > 0 and math.isfinite(rate) for rate in given)
    rates = {float(written_rate(rate)) for rate in given} if known else set()
    if len(rates) < 2 or len(rates) < len(given):
        raise InputError(
            f"--rates {written}: give two learning rates or more, as in 1e-4,2e-4,4e-4"
        )
    return tuple(sorted(rates))


def make_grid(methods: Sequence[Method], rates: Sequence[float]) -> Grid:
    """The grid of methods that leave their rate to it.

    Raises:
        InputError: one has a rate of its own.
    """
    for method in methods:
        for text in method.overrides:
            if text.partition("=")[0] == _KEY:
                raise InputError(
                    f"method {method.name}: it sets {text}, and with --stability every method has "
                    "the rates of --rates; leave it out"
                )
    return Grid(tuple(methods), tuple(rates))
