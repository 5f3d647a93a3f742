"""An OpenEnv server as an environment (package `openenv`, 0.10; its protocol over a WebSocket).

A server whose actions are calls of MCP tools is asked for them; any other has one tool, its action,
whose schema the server publishes. Reward and `done` are those of each step. A session is an
episode: a connection that is lost ends it, since the client would go on in a fresh session.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from toolrest.core.dialects import ToolCall
from toolrest.environments.base import Ending, EnvironmentFailure, Finish, NoRoom, Start, Step
from toolrest.environments.source import OPENENV_INSTALL
from toolrest.environments.texts import prompt_messages, result_text
from toolrest.errors import InputError, reason

_MCP = "CallToolAction"
"""The title of the schema of actions that are calls of tools."""
_OF_THE_POLICY = ("VALIDATION_ERROR", "EXECUTION_ERROR")
"""Codes of errors that a wrong action brings; others are of the server."""
_FULL = re.compile(r"capacity.*?\d+/(\d+) sessions", re.IGNORECASE | re.DOTALL)
_NO_ROOM = (
    "the server takes {} at once; give its create_app a greater max_concurrent_envs, as many as a "
    "step has trajectories"
)
_NOT_SHOWN = ("metadata", "reward", "done")
_LONGEST_SCHEMA = 10_000_000


class OpenEnvServer:
    """A server at an address."""

    def __init__(self, address: str, where: str, seconds: float) -> None:
        """
        Args:
            address: without a slash at its end.
            where: begins errors.
            seconds: that an answer may take.

        Raises:
            InputError: the package is missing, or no such server answers.
        """
        try:
            self._client: Any = import_module("openenv.core.generic_client").GenericEnvClient
        except ImportError as error:
            raise InputError(
                f"{where}: OpenEnv needs the package openenv ({reason(error)}); {OPENENV_INSTALL}"
            ) from error
        self._address = address
        self._seconds = seconds
        try:
            action = _schema(address, seconds)
            self._action = None if action.get("title") == _MCP else _action_tool(action)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{where}: no OpenEnv server answers at {address}/schema ({reason(error)}); start "
                "it, or mend the address"
            ) from error

    def make(self) -> OpenEnvEnvironment:
        client = self._client(base_url=self._address, message_timeout_s=self._seconds)
        return OpenEnvEnvironment(client, self._action)


def _schema(address: str, seconds: float) -> Any:
    """The schema of a server's actions. A proxy is no way to this machine itself."""
    near = urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1")
    handlers = [urllib.request.ProxyHandler({})] if near else []
    opener = urllib.request.build_opener(*handlers)
    with opener.open(f"{address}/schema", timeout=seconds) as file:
        return json.loads(file.read(_LONGEST_SCHEMA))["action"]


def _action_tool(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The one tool of a server whose actions are no calls: an object of its action's fields."""
    fields = {key: value for key, value in schema["properties"].items() if key != "metadata"}
    title = str(schema.get("title") or "Action")
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", title.removesuffix("Action") or "act").lower()
    parameters: dict[str, Any] = {"type": "object", "properties": fields}
    parameters["required"] = [each for each in schema.get("required", ()) if each in fields]
    if "$defs" in schema:
        parameters["$defs"] = schema["$defs"]
    described = {"name": name, "description": str(schema.get("description", ""))}
    return {"type": "function", "function": {**described, "parameters": parameters}}


class OpenEnvEnvironment:
    """A session."""

    def __init__(self, client: Any, action: dict[str, Any] | None) -> None:
        self._client = client
        self._action = action
        self._tools: tuple[dict[str, Any], ...] = (action,) if action else ()
        self._socket: Any = None

    async def reset(self, row: Mapping[str, Any], seed: int) -> Start:
        try:
            seen = await self._client.reset(**{"seed": seed, **row})
            if self._action is None:
                listed = await self._client.step({"type": "list_tools"})
                self._tools = tuple(_mcp_tool(each) for each in listed.observation["tools"])
        except (TimeoutError, RuntimeError, OSError, KeyError) as error:
            full = _FULL.search(str(error))
            if full is not None:
                raise NoRoom(_NO_ROOM.format(full[1]), int(full[1])) from error
            raise EnvironmentFailure(_why(error)) from error
        self._socket = getattr(self._client, "_ws", None)
        text = _shown(seen.observation)
        after = "\n" if text and row.get("prompt") else ""
        return Start(prompt_messages(row, after + text), self._tools)

    async def call(self, calls: Sequence[ToolCall]) -> Step:
        results, reward, done, errors = [], 0.0, False, 0
        for call in calls:
            if done:
                text, fine = "error: the episode is over", False
            else:
                text, fine, earned, done = await self._step(call)
                reward += earned
            results.append((call.name, text))
            errors += not fine
        return Step(tuple(results), reward, done, errors)

    async def _step(self, call: ToolCall) -> tuple[str, bool, float, bool]:
        """(text, whether it went well, reward, done) of one call."""
        names = [each["function"]["name"] for each in self._tools]
        if call.name not in names:
            text = f"error: there is no tool {call.name}; tools: {', '.join(names)}"
            return text, False, 0.0, False
        action: dict[str, Any] = call.parameters
        if self._action is None:
            action = {"type": "call_tool", "tool_name": call.name, "arguments": call.parameters}
        try:
            step = await self._client.step(action)
        except RuntimeError as error:
            if not any(f"(code: {code})" in str(error) for code in _OF_THE_POLICY):
                raise EnvironmentFailure(_why(error)) from error
            return f"error: {call.name}: {reason(error)}", False, 0.0, False
        except (TimeoutError, OSError) as error:
            raise EnvironmentFailure(_why(error)) from error
        finally:
            self._require_same_session()
        seen = step.observation if isinstance(step.observation, Mapping) else {}
        failed = seen.get("error") if self._action is None else None
        text = f"error: {_said(failed)}" if failed else _shown(seen, self._action is None)
        return text, not failed, float(step.reward or 0.0), bool(step.done)

    def _require_same_session(self) -> None:
        if getattr(self._client, "_ws", None) is not self._socket:
            raise EnvironmentFailure("the connection to the server was lost, and its session")

    def finish(self, reply: str, ending: Ending) -> Finish:
        return Finish()

    async def close(self) -> None:
        await self._client.close()


def _mcp_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    schema = tool.get("input_schema") or tool.get("inputSchema") or {}
    described = {"name": tool["name"], "description": tool.get("description") or ""}
    return {"type": "function", "function": {**described, "parameters": schema}}


def _shown(seen: Any, of_tool: bool = False) -> str:
    """An observation as text: the result of a call of a tool; else JSON of what is in it."""
    if of_tool and isinstance(seen, Mapping) and "result" in seen:
        result = seen["result"]
        if isinstance(result, Mapping) and "data" in result:
            result = result["data"] if result["data"] is not None else _parts(result)
        return result_text(result)
    if isinstance(seen, Mapping):
        seen = {key: value for key, value in seen.items() if key not in _NOT_SHOWN}
    return result_text(seen) if seen else ""


def _parts(result: Mapping[str, Any]) -> Any:
    """The texts of a result of MCP that has no data."""
    parts = result.get("content") or ()
    return "\n".join(str(each.get("text", "")) for each in parts if isinstance(each, Mapping))


def _said(error: Any) -> str:
    return str(error.get("message", error)) if isinstance(error, Mapping) else str(error)


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {reason(error)}"
