"""A reward function of TRL's that reads `environments`: it is called where they live.

TRL's example scripts have it so: `def reward(environments, **kwargs): return [e.score for e in
environments]`. It is called in the process of an episode, at its end, with that environment alone
and the row's columns as lists of one.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.environments.adapters.trl_class import TrlEnvironment, taken
from toolrest.environments.base import Ending, Finish
from toolrest.io.foreign import is_number


class ReadByReward:
    """An environment, whose end earns what the function says, added to what it gives itself."""

    def __init__(self, environment: Any, function: Callable[..., Any]) -> None:
        if isinstance(environment, TrlEnvironment):
            environment.read = True
        self._environment = environment
        self._function = function
        self._row: dict[str, Any] = {}

    def reset(self, row: Mapping[str, Any], seed: int) -> Any:
        self._row = dict(row)
        return self._environment.reset(row, seed)

    def call(self, calls: Sequence[ToolCall]) -> Any:
        return self._environment.call(calls)

    async def finish(self, reply: str, ending: Ending) -> Finish:
        """
        Raises:
            TypeError, ValueError: what the function returns is no list of one number or None.
        """
        finish = getattr(self._environment, "finish", None)
        ended = Finish() if finish is None else await _awaited(finish(reply, ending))
        if ended.message is not None:  # the user goes on
            return ended
        return replace(ended, reward=ended.reward + await self._earned())

    async def _earned(self) -> float:
        own = self._environment
        read = own.made if isinstance(own, TrlEnvironment) else own
        columns = {name: [value] for name, value in self._row.items()}
        given = taken(self._function, {**columns, "environments": [read]})
        said = await _awaited(self._function(**given))
        name = getattr(self._function, "__name__", "the reward function")
        if not isinstance(said, Sequence) or isinstance(said, str) or len(said) != 1:
            raise TypeError(f"{name} gave {said!r:.80} for one environment, not a list of 1 number")
        value = said[0].item() if callable(getattr(said[0], "item", None)) else said[0]
        if value is None:
            return 0.0
        if not (is_number(value) or isinstance(value, bool)) or not math.isfinite(value):
            raise ValueError(f"{name} gave the reward {value!r:.80}, which is no finite number")
        return float(value)

    def close(self) -> Any:
        close = getattr(self._environment, "close", None)
        return close() if callable(close) else None


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
