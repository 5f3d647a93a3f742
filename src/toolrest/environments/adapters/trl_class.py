"""TRL's environment class: `reset(**row)`, methods as tools, `get_reward()`.

The contract is that of `environment_factory` of TRL's GRPOTrainer (trl/trainer/grpo_trainer.py),
with these differences: `close` and `state` are no tools and neither is a method without a docstring
or type hints; a class without `get_reward` that keeps a number in `reward`, as TRL's examples do
for a reward function, has that as its reward; `reset` is not given what it does not take.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.environments.adapters.tools import Tools, schema_of
from toolrest.environments.base import Ending, Finish, Start, Step
from toolrest.environments.source_file import NO_TOOLS
from toolrest.environments.texts import content_text, prompt_messages
from toolrest.errors import InputError
from toolrest.io.foreign import is_number

_NO_REWARD = (
    "{name} has no get_reward: an episode earns the number that the object keeps in `reward`, or "
    "what reward.function gives; without both it earns 0"
)


class TrlClass:
    """What a class offers, worked out once; `make` makes an episode's environment."""

    def __init__(self, kind: type, where: str) -> None:
        """
        Raises:
            InputError: it has no tools, or one whose docstring says too little.
        """
        self._kind = kind
        public = {
            name: method
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if name not in NO_TOOLS and not name.startswith("_")
        }
        missing = {name: _missing(kind, name, method) for name, method in public.items()}
        self.left_out = tuple(f"{name} has no {what}" for name, what in missing.items() if what)
        """Public methods that are no tools, and why."""
        told = callable(getattr(kind, "get_reward", None)) or hasattr(kind, "reward")
        self.notes = () if told else (_NO_REWARD.format(name=kind.__name__),)
        """What else a user should know of it."""
        self._names = [name for name, what in missing.items() if not what]
        if not self._names:
            why = f" ({'; '.join(self.left_out)})" if public else ""
            raise InputError(
                f"{where}: {kind.__name__} has no method that is a tool{why}; a tool has a "
                "docstring and type hints. A class of toolrest's protocol has reset(row, seed) "
                "and call(calls)"
            )
        self._schemas = tuple(
            schema_of(_as_bound(kind, name, public[name]), where) for name in self._names
        )

    def make(self) -> TrlEnvironment:
        made = self._kind()
        return TrlEnvironment(made, {n: getattr(made, n) for n in self._names}, self._schemas)


def _as_bound(kind: type, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """A method as it is on an object, without `self`."""
    static = isinstance(inspect.getattr_static(kind, name), staticmethod)
    return method if static else MethodType(method, object())


def _missing(kind: type, name: str, method: Callable[..., Any]) -> str:
    if not (method.__doc__ or "").strip():
        return "docstring"
    parameters = inspect.signature(_as_bound(kind, name, method)).parameters.values()
    bare = [each.name for each in parameters if each.annotation is inspect.Parameter.empty]
    return f"type hint of {bare[0]}" if bare else ""


class TrlEnvironment:
    """One object of the class."""

    read = False
    """Whether a reward function reads it, so that a number which it keeps is that one's."""

    def __init__(
        self,
        made: Any,
        methods: Mapping[str, Callable[..., Any]],
        schemas: tuple[dict[str, Any], ...],
    ) -> None:
        self.made = made
        """The object, for rewards that read it."""
        self._tools = Tools(methods)
        self._schemas = schemas

    async def reset(self, row: Mapping[str, Any], seed: int) -> Start:
        seen = await _awaited(self.made.reset(**_taken(self.made.reset, row, seed)))
        try:
            text = content_text(seen)
        except ValueError:
            raise TypeError(
                f"reset returns a text or None, not a {type(seen).__name__}; images are not "
                "supported"
            ) from None
        return Start(prompt_messages(row, text), self._schemas)

    async def call(self, calls: Sequence[ToolCall]) -> Step:
        return await self._tools.run(calls)

    async def finish(self, reply: str, ending: Ending) -> Finish:
        if callable(getattr(self.made, "get_reward", None)):
            reward = await _awaited(self.made.get_reward())
            if callable(getattr(reward, "item", None)):  # numpy's and torch's numbers
                reward = reward.item()
            if not (is_number(reward) or isinstance(reward, bool)):
                raise TypeError(
                    f"get_reward gave {reward!r:.80}, a {type(reward).__name__} and no number"
                )
            return Finish(reward=float(reward))
        if self.read:
            return Finish()
        kept = getattr(self.made, "reward", None)
        return Finish(reward=float(kept) if is_number(kept) else 0.0)

    async def close(self) -> None:
        close = getattr(self.made, "close", None)
        if callable(close):
            await _awaited(close())


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _taken(reset: Callable[..., Any], row: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The columns that `reset` takes, and `seed` where it names one and the row has none."""
    seeds = {"seed": seed} if "seed" in inspect.signature(reset).parameters else {}
    return taken(reset, {**seeds, **row})


def taken(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What of the given a function has parameters for."""
    parameters = inspect.signature(function).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return dict(given)
    return {name: value for name, value in given.items() if name in parameters}
