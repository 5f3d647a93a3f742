"""The work of an episode's process: requests of a socket -> the environment -> answers."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import random
import socket
import sys
import traceback
from dataclasses import dataclass
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.environments import wire
from toolrest.environments.base import Ending, EnvironmentFailure, Finish, NoRoom
from toolrest.environments.load import Loaded
from toolrest.errors import OUT_OF_MEMORY, message_of, printable, reason


@dataclass(frozen=True)
class Manner:
    """How an episode is run."""

    own_process: bool
    """Whether the process is the episode's alone, so that its random state may be set."""
    max_memory: float
    """GB that it may grow by, for messages."""


def serve(channel: socket.socket, loaded: Loaded, manner: Manner) -> None:
    """Answer the requests of an episode until they end or ask for `close`.

    A request is {"do": method, ..}; the answer is {"value": ..} or {"failed": one line}. What is
    raised never ends the process.
    """
    with asyncio.Runner() as runner:
        runner.run(_answer_all(channel, _Served(loaded, manner)))


async def _answer_all(channel: socket.socket, served: _Served) -> None:
    """One loop for the whole episode, also as it waits: an environment's connections stay alive."""
    process = os.getpid()
    reader, writer = await asyncio.open_unix_connection(sock=channel, limit=wire.LONGEST_LINE)
    while line := await reader.readline():
        request = json.loads(line)
        answer = await served.answer(request)
        if os.getpid() != process:
            os._exit(0)  # a fork that came back out of the environment's code
        writer.write(answer)
        await writer.drain()
        if request["do"] == "close":
            break
    writer.close()


class _Served:
    """An environment and the requests that can be made of it."""

    def __init__(self, loaded: Loaded, manner: Manner) -> None:
        self._loaded = loaded
        self._manner = manner
        self._environment: Any = None
        self._method = ""

    async def answer(self, request: dict[str, Any]) -> bytes:
        self._method = request["do"]
        try:
            return wire.encode({"value": await self._run(request)})
        except NoRoom as error:
            said = f"{self._method} {self._what(error)}"
            return wire.encode({"failed": said, "room": error.room})
        except BaseException as error:
            return wire.encode({"failed": f"{self._method} {self._what(error)}"})

    def _what(self, error: BaseException) -> str:
        """`raised ValueError: no such row (bank.py, line 12)`"""
        said = message_of(error)
        if isinstance(error, MemoryError) or any(each in said for each in OUT_OF_MEMORY):
            grew = f"grew by over {self._manner.max_memory:g} GB"
            return grew if self._manner.own_process else "ran out of memory"
        if isinstance(error, EnvironmentFailure):
            return printable(f"failed: {reason(error)}")[:500]
        return printable(f"raised {type(error).__name__}: {reason(error)[:300]}{_place(error)}")

    async def _run(self, request: dict[str, Any]) -> Any:
        if self._method == "reset":
            return await self._reset(request["row"], request["seed"])
        if self._method == "call":
            calls = wire.calls_from_json(request["calls"])
            kept = tuple(ToolCall(each.name, each.parameters) for each in calls)
            return wire.step_to_json(await _awaited(self._environment.call(calls)), kept)
        if self._method == "finish":
            finish = getattr(self._environment, "finish", None)
            if finish is None:
                return wire.finish_to_json(Finish())
            ending = Ending(request["ending"])
            return wire.finish_to_json(await _awaited(finish(request["reply"], ending)))
        close = getattr(self._environment, "close", None)
        if callable(close):
            await _awaited(close())
        return None

    async def _reset(self, row: dict[str, Any], seed: int) -> dict[str, Any]:
        if self._manner.own_process:
            _set_seeds(seed)
        if self._environment is None:
            self._method = "__init__"
            self._environment = self._loaded.make()
            self._method = "reset"
        return wire.start_to_json(await _awaited(self._environment.reset(row, seed)))


def _place(error: BaseException) -> str:
    """` (bank.py, line 12)`, where a line of the environment's raised it."""
    ours = os.path.dirname(os.path.dirname(__file__))
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [each for each in frames if not each.filename.startswith((ours, "<frozen"))]
    return f" ({os.path.basename(theirs[-1].filename)}, line {theirs[-1].lineno})" if theirs else ""


def _set_seeds(seed: int) -> None:
    """Seed what draws at random in a process, for environments that draw from it."""
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
