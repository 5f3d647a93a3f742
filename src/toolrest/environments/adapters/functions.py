"""Plain functions as an environment: no state but theirs, no reward of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.environments.adapters.tools import Tools, schema_of
from toolrest.environments.base import Ending, Finish, Start, Step
from toolrest.environments.texts import prompt_messages
from toolrest.errors import InputError


class FunctionsEnvironment:
    """The prompt of a row, and functions that may be called."""

    def __init__(self, functions: Sequence[Callable[..., Any]], where: str) -> None:
        """
        Args:
            functions: with type hints and docstrings.
            where: begins errors.

        Raises:
            InputError: there are none, two of one name, or one that says too little.
        """
        named = {each.__name__: each for each in functions}
        if not named:
            raise InputError(f"{where}: it has no public functions; each is a tool")
        if len(named) < len(functions):
            raise InputError(f"{where}: two of its functions have one name; rename one")
        self._tools = Tools(named)
        self._schemas = tuple(schema_of(each, where) for each in functions)

    def reset(self, row: Mapping[str, Any], seed: int) -> Start:
        return Start(prompt_messages(row), self._schemas)

    async def call(self, calls: Sequence[ToolCall]) -> Step:
        return await self._tools.run(calls)

    def finish(self, reply: str, ending: Ending) -> Finish:
        return Finish()

    def close(self) -> None:
        """There is nothing to close."""
