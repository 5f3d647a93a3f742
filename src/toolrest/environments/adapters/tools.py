"""Python functions that a policy calls."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.environments.base import EnvironmentFailure, Step
from toolrest.environments.texts import result_text
from toolrest.errors import InputError, reason


def schema_of(function: Callable[..., Any], where: str) -> dict[str, Any]:
    """A function's schema in OpenAI's form, from its type hints and docstring.

    Raises:
        InputError: they say too little.
    """
    from transformers.utils import chat_template_utils

    try:
        with _without_torch(chat_template_utils):
            schema = chat_template_utils.get_json_schema(function)
    except Exception as error:  # of type hints and docstrings that say too little
        raise InputError(
            f"{where}: {function.__name__} needs type hints, and a docstring with what it does "
            f"and each argument ({reason(error)})"
        ) from error
    schema["function"].pop("return", None)  # what it returns is not for the policy's template
    return schema


@contextmanager
def _without_torch(utils: Any) -> Iterator[None]:
    """Have transformers not import torch to know a type that no function here can have: it takes
    seconds and 200 MB that each process of an episode would be forked with.
    """
    asked = utils.is_torch_available
    if "torch" not in sys.modules:
        utils.is_torch_available = lambda: False
    try:
        yield
    finally:
        utils.is_torch_available = asked


class Tools:
    """Functions by name. What a policy gets wrong is a result that says so."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        self._functions = dict(functions)

    async def run(self, calls: Sequence[ToolCall]) -> Step:
        """Call them in their order; `async` ones that follow one another run side by side."""
        done: list[tuple[str, bool]] = []
        for together, group in groupby(calls, self._is_async):
            if together:
                done += await asyncio.gather(*(self._run_one(call) for call in group))
            else:
                done += [await self._run_one(call) for call in group]
        results = tuple((call.name, text) for call, (text, _) in zip(calls, done, strict=True))
        return Step(results, errors=sum(not fine for _, fine in done))

    def _is_async(self, call: ToolCall) -> bool:
        return inspect.iscoroutinefunction(self._functions.get(call.name))

    async def _run_one(self, call: ToolCall) -> tuple[str, bool]:
        """(text, whether it went well)"""
        function = self._functions.get(call.name)
        if function is None:
            names = ", ".join(self._functions)
            return f"error: there is no tool {call.name}; tools: {names}", False
        try:
            inspect.signature(function).bind(**call.parameters)
        except TypeError as error:
            names = ", ".join(inspect.signature(function).parameters) or "none"
            return f"error: {call.name}: {reason(error)}; its parameters: {names}", False
        try:
            value = function(**call.parameters)
            if inspect.isawaitable(value):
                value = await value
        except (MemoryError, EnvironmentFailure):
            raise
        except (Exception, SystemExit) as error:
            return f"error: {type(error).__name__}: {reason(error)}", False
        try:
            return result_text(value), True
        except ValueError as error:
            return f"error: {call.name}: {error}", False
