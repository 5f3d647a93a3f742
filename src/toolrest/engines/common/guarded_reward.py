"""Calls a user's reward function and reports its errors as such, not as errors of the run."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

from toolrest.engines.common.ranks import ALONE, Ranks
from toolrest.errors import InputError
from toolrest.io.python_file import run_python_file
from toolrest.recipe.reward_file import split_reward

RewardFunction = Callable[..., Sequence[float | None]]


class RewardError(InputError):
    """A reward function failed, and `on_error` is `stop`."""


class GuardedReward:
    """Wraps a reward function: a failure stops the run with a `RewardError`, or gives zero rewards.

    Has the signature of TRL's reward functions: keyword arguments with a list each; returns one
    number or None a response.

    Args:
        function: the user's reward function.
        on_error: `stop` raises; `skip` gives every response of the generation 0, which teaches
            nothing, and goes on.
        timeout: seconds after which a call counts as failed. Its thread is not stopped.
        notify: called with the error message of a call that is skipped.
        ranks: the processes of the run, which fail together.
    """

    def __init__(
        self,
        function: RewardFunction,
        on_error: str = "stop",
        timeout: float = 600.0,
        notify: Callable[[str], None] = lambda text: None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.function = function
        self.on_error = on_error
        self.timeout = timeout
        self.notify = notify
        self.ranks = ranks
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Return one reward or None a completion, [B].

        Raises:
            RewardError: with `stop`, the function raised, took too long, or returned something
                else, here or in another process.
        """
        rewards: list[float | None] = []
        fault = None
        try:
            said = self._in_time(completions=completions, **columns)
            rewards = self._checked(said, len(completions))
        except RewardError as error:
            fault = str(error)
        fault = next((said for said in self.ranks.each(fault) if said is not None), None)
        if fault is None:
            return rewards
        if self.on_error == "stop":
            raise RewardError(fault)
        self.notify(f"warning: {fault}; it counts 0 in this generation")
        return [0.0] * len(completions)

    def _in_time(self, **arguments: Any) -> Any:
        said: list[Any] = [None, None]

        def call() -> None:
            try:
                said[0] = self.function(**arguments)
            except (Exception, SystemExit) as error:  # a user's file may call sys.exit
                said[1] = error

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(self.timeout)
        if thread.is_alive():
            raise RewardError(
                f"the reward function {self.__name__} has not answered for {self.timeout:g} s "
                "(reward.timeout)"
            )
        if said[1] is not None:
            raise RewardError(
                f"the reward function {self.__name__} raised {type(said[1]).__name__}: {said[1]}"
            ) from said[1]
        return said[0]

    def _checked(self, rewards: Any, count: int) -> list[float | None]:
        name = f"the reward function {self.__name__}"
        if not isinstance(rewards, Sequence) or isinstance(rewards, str):
            raise RewardError(
                f"{name} returned {type(rewards).__name__}, not a list of {count} numbers"
            )
        if len(rewards) != count:
            raise RewardError(f"{name} returned {len(rewards)} rewards for {count} responses")
        for place, value in enumerate(rewards):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise RewardError(f"{name} returned {value!r} for response {place}, not a number")
            if not math.isfinite(value):
                raise RewardError(f"{name} returned {value} for response {place}")
        return [None if value is None else float(value) for value in rewards]


def load_reward_function(named: str) -> RewardFunction:
    """Import the function that `FILE.py:NAME` names. This runs the file.

    Raises:
        InputError: the name has another form, the file or function is missing, or the import
            fails.
    """
    path, name = split_reward(named)
    module = run_python_file(path, "reward_of", f"reward.function={named}")
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"reward.function={named}: {path} has no function {name}")
    return cast(RewardFunction, function)
