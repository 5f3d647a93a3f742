"""The tools of a chat: JSON schemas, or Python functions that are called."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.data.dialogue import Tool
from toolrest.errors import InputError, reason
from toolrest.io.deadline import TooLong, within
from toolrest.io.files import read_json
from toolrest.io.python_file import run_python_file

FUNCTION = (
    r'def forecast(city: str) -> str: "The weather.\n\nArgs:\n    city: Where."; '
    r'return "rain"'
)
"""A function that is a tool, on one line: what it does and each argument, in Google's style."""
SCHEMA = '{"name": "forecast", "description": "The weather.", "parameters": {"type": "object"}}'
"""The same as a schema."""


@dataclass(frozen=True)
class ChatTool:
    """A tool and what computes its results."""

    tool: Tool
    """Its name, description and schema."""
    function: Callable[..., Any] | None = None
    """Called with a call's parameters; None: the user types the result."""


def load_tools(path: Path) -> dict[str, ChatTool]:
    """The tools of a file, by name. A `.py` file is run.

    Args:
        path: a .json file with a list of tools, in OpenAI's form or bare {name, description,
            parameters}; or a .py file whose public functions have type hints and docstrings.

    Raises:
        InputError: the file cannot be read, or holds no tools.
    """
    if not path.is_file():
        raise InputError(f"--tools {path}: there is no such file")
    if path.suffix == ".json":
        tools = _from_json(path)
    elif path.suffix == ".py":
        tools = _from_python(path)
    else:
        raise InputError(
            f"--tools {path}: a .json file of schemas, such as [{SCHEMA}], or a .py file of "
            f"functions, such as {FUNCTION}"
        )
    if not tools:
        form = f"[{SCHEMA}]" if path.suffix == ".json" else f"a public function, {FUNCTION}"
        raise InputError(f"--tools {path}: it has no tools; write one, such as {form}")
    found = {each.tool.name: each for each in tools}
    if len(found) < len(tools):
        raise InputError(f"--tools {path}: two of its tools have one name")
    return found


def _from_json(path: Path) -> list[ChatTool]:
    try:
        value = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"--tools {path}: cannot be read ({reason(error)})") from error
    listed = value if isinstance(value, list) else [value]
    return [ChatTool(_tool(each, f"--tools {path}, tool {at}")) for at, each in enumerate(listed)]


def _tool(value: Any, where: str) -> Tool:
    inner = value.get("function", value) if isinstance(value, Mapping) else None
    if not isinstance(inner, Mapping):
        raise InputError(f"{where}: no object with a name and parameters, such as {SCHEMA}")
    name, said = inner.get("name"), inner.get("description", "")
    schema = inner.get("parameters", {})
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: it has no name")
    if not isinstance(said, str):
        raise InputError(f"{where}: its description is no text")
    if not isinstance(schema, dict):
        raise InputError(f"{where}: its parameters are no JSON schema (an object)")
    return Tool(name, said, schema)


def _from_python(path: Path) -> list[ChatTool]:
    from transformers.utils.chat_template_utils import get_json_schema

    module = run_python_file(path, "tools_of", f"--tools {path}")
    tools = []
    for name, function in vars(module).items():
        own = inspect.isfunction(function) and function.__module__ == module.__name__
        if not own or name != function.__name__ or function.__name__.startswith("_"):
            continue
        where = f"--tools {path}, function {function.__name__}"
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise InputError(f"{where}: it is async; tools are called and give their result")
        try:
            schema = get_json_schema(function)
        except Exception as error:  # of type hints and docstrings that say too little
            raise InputError(
                f"{where}: it needs type hints, and a docstring with what it does and each "
                f"argument, such as {FUNCTION} ({reason(error)})"
            ) from error
        tools.append(ChatTool(_tool(schema, where), function))
    return tools


def result_of(call: ToolCall, tools: Mapping[str, ChatTool], seconds: float) -> str | None:
    """The text of a call's result; None where the user has to type it.

    Whatever goes wrong is the text, as a policy would be told. The parameters are values of JSON;
    nothing of the policy's is evaluated.

    Args:
        seconds: a function that takes longer is stopped.
    """
    if call.name not in tools:
        return f"error: there is no tool {call.name}; tools: {', '.join(tools) or 'none'}"
    function = tools[call.name].function
    if function is None:
        return None
    try:
        with within(seconds):
            value = function(**call.parameters)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except TooLong:
        return f"error: {call.name} took over {seconds:g} s"
    except (Exception, SystemExit) as error:
        return f"error: {type(error).__name__}: {reason(error)}"
