"""The adapter of OpenEnv, against a client and a server that answer what they are told to."""

import asyncio
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import ModuleType, SimpleNamespace

import pytest

from toolrest.core.dialects import ToolCall
from toolrest.environments.adapters.openenv import OpenEnvServer
from toolrest.environments.base import EnvironmentFailure, NoRoom
from toolrest.errors import InputError

ACTION = {
    "title": "GuessWordAction",
    "description": "A guess.",
    "properties": {"word": {"type": "string"}, "metadata": {"type": "object"}},
    "required": ["word"],
}
MCP = {"title": "CallToolAction", "properties": {"tool_name": {}, "arguments": {}}}
ROW = {"prompt": "Guess."}


class Client:
    """Answers from a list; an exception is raised, and "lost" is a connection that is made anew."""

    def __init__(self, answers):
        self.answers = list(answers)
        self.sent = []
        self._ws = object()

    async def _next(self, message):
        self.sent.append(message)
        answer = self.answers.pop(0)
        if answer == "lost":
            self._ws = object()
            answer = {}
        if isinstance(answer, Exception):
            raise answer
        given = {"observation": {}, "reward": None, "done": False, **answer}
        return SimpleNamespace(**given)

    async def reset(self, **data):
        return await self._next(data)

    async def step(self, action):
        return await self._next(action)

    async def close(self):
        self.sent.append("close")


@pytest.fixture
def schema():
    """Serve an answer under /schema; the address."""
    servers = []

    def serve(content: bytes, seconds: float = 0.0) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                time.sleep(seconds)
                self.send_response(200 if self.path == "/schema" else 404)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for each in servers:
        each.shutdown()
        each.server_close()


@pytest.fixture
def made(schema, monkeypatch):
    """An environment whose client gives these answers, and the client."""

    def make(action, *answers):
        client = Client(answers)
        module = ModuleType("openenv.core.generic_client")
        module.GenericEnvClient = lambda **options: client
        monkeypatch.setitem(sys.modules, "openenv", ModuleType("openenv"))
        monkeypatch.setitem(sys.modules, "openenv.core", ModuleType("openenv.core"))
        monkeypatch.setitem(sys.modules, "openenv.core.generic_client", module)
        address = schema(json.dumps({"action": action}).encode())
        return OpenEnvServer(address, "environment.source=x", 5.0).make(), client

    return make


async def begun(environment, row=ROW):
    return await environment.reset(row, 3)


def test_an_action_is_one_tool_and_a_step_has_its_reward(made):
    environment, client = made(
        ACTION,
        {"observation": {"hint": "five letters", "metadata": {"x": 1}}},
        {"observation": {"hint": "warm"}, "reward": 0.25},
        {"observation": {"hint": "right"}, "reward": 1.0, "done": True},
    )

    async def play():
        start = await begun(environment)
        [tool] = start.tools
        assert tool["function"]["name"] == "guess_word"
        assert tool["function"]["parameters"] == {
            "type": "object",
            "properties": {"word": {"type": "string"}},
            "required": ["word"],
        }
        assert start.messages[0]["content"] == 'Guess.\n{"hint": "five letters"}'
        guess = ToolCall("guess_word", {"word": "crane"})
        step = await environment.call([guess, guess, guess])
        assert [text for _, text in step.results] == [
            '{"hint": "warm"}',
            '{"hint": "right"}',
            "error: the episode is over",
        ]
        assert (step.reward, step.done, step.errors) == (1.25, True, 1)
        await environment.close()

    asyncio.run(play())
    assert client.sent[0] == {"seed": 3, "prompt": "Guess."}
    assert client.sent[1:] == [{"word": "crane"}, {"word": "crane"}, "close"]


@pytest.mark.parametrize(
    ("seen", "text", "errors"),
    [
        ({"tool_name": "pay", "result": {"data": "paid"}}, "paid", 0),
        ({"tool_name": "pay", "result": {"data": {"paid": 3}}}, '{"paid": 3}', 0),
        ({"tool_name": "pay", "result": "paid"}, "paid", 0),
        ({"result": {"data": None, "content": [{"text": "a"}, {"text": "b"}]}}, "a\nb", 0),
        ({"result": None, "error": {"message": "no money"}}, "error: no money", 1),
    ],
)
def test_mcp_tools_are_listed_and_called(made, seen, text, errors):
    listed = {"tools": [{"name": "pay", "description": "Pay.", "input_schema": {"type": "object"}}]}
    environment, client = made(MCP, {}, {"observation": listed}, {"observation": seen})

    async def play():
        start = await begun(environment)
        assert [each["function"]["name"] for each in start.tools] == ["pay"]
        assert start.messages == ({"role": "user", "content": "Guess."},)
        step = await environment.call([ToolCall("pay", {"amount": 3})])
        assert step.results == (("pay", text),) and step.errors == errors

    asyncio.run(play())
    assert client.sent[1:] == [
        {"type": "list_tools"},
        {"type": "call_tool", "tool_name": "pay", "arguments": {"amount": 3}},
    ]


@pytest.mark.parametrize("code", ["VALIDATION_ERROR", "EXECUTION_ERROR"])
def test_what_the_server_says_of_a_wrong_action_is_a_result(made, code):
    said = RuntimeError(f"Server error: Invalid message (code: {code})")
    environment, _ = made(ACTION, {}, said)

    async def play():
        await begun(environment)
        step = await environment.call([ToolCall("guess_word", {}), ToolCall("other", {})])
        assert step.results[0][1].startswith("error: guess_word: Server error: Invalid message")
        assert step.results[1][1] == "error: there is no tool other; tools: guess_word"
        assert step.errors == 2

    asyncio.run(play())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (RuntimeError("Server error: gone (code: SESSION_ERROR)"), "gone"),
        (ConnectionError("Failed to connect"), "Failed to connect"),
        (TimeoutError(), "TimeoutError"),
        ("lost", "the connection to the server was lost, and its session"),
    ],
    ids=["session", "connection", "timeout", "made anew"],
)
def test_what_is_the_servers_fault_ends_the_episode(made, answer, said):
    environment, _ = made(ACTION, {}, answer)

    async def play():
        await begun(environment)
        await environment.call([ToolCall("guess_word", {"word": "a"})])

    with pytest.raises(EnvironmentFailure, match=said):
        asyncio.run(play())


def test_a_full_server_says_how_many_sessions_it_takes(made):
    full = "Server error: Server at capacity: 4/4 sessions active. (code: CAPACITY_REACHED)"
    environment, _ = made(ACTION, RuntimeError(full))
    with pytest.raises(NoRoom, match="takes 4 at once; give its create_app") as error:
        asyncio.run(begun(environment))
    assert error.value.room == 4


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b'{"action": null}', b'{"action": {"title": "A"}}']
)
def test_what_is_no_openenv_server_is_one_line(made, schema, content):
    made(ACTION)  # the package is there
    with pytest.raises(InputError, match="no OpenEnv server answers at http://127") as error:
        OpenEnvServer(schema(content), "environment.source=x", 5.0)
    assert "\n" not in str(error.value)


def test_a_server_that_is_slow_or_gone_is_not_waited_for(made, schema):
    made(ACTION)
    began = time.monotonic()
    for address in (schema(b"{}", seconds=4.0), "http://127.0.0.1:1"):
        with pytest.raises(InputError, match="no OpenEnv server answers"):
            OpenEnvServer(address, "environment.source=x", 0.2)
    assert time.monotonic() - began < 3.5


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "openenv", None)
    with pytest.raises(InputError, match=r"needs the package openenv .*toolrest\[openenv\]"):
        OpenEnvServer("http://127.0.0.1:1", "environment.source=x", 5.0)
