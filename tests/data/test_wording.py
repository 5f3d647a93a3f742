"""Prompts of a dialogue in every wording."""

import json
import os
from pathlib import Path

import pytest

from toolrest.data.dialogue import Action, Dialogue, Observation, Tool, UserTurn
from toolrest.data.wording import default_style, style_names, word
from toolrest.dialects import ToolCall, get_dialect
from toolrest.errors import InputError

WEATHER = Tool(
    "Weather",
    "The weather of a city.",
    {"type": "object", "properties": {"city": {"type": "string", "description": "Which."}}},
)
CALL = ToolCall("Weather", {"city": "Zürich"})
DIALOGUE = Dialogue(
    (WEATHER,),
    (
        UserTurn("How is it in Zürich?"),
        Action((CALL,)),
        Observation((("Weather", '{"sky": "blue"}'),)),
        Action(response="Blue."),
        UserTurn("And tomorrow?"),
    ),
    system="Be brief.",
)


def test_rlla_flattens_the_history():
    prompt = word(DIALOGUE, "rlla", get_dialect("rlla"))
    system, user = prompt.messages
    assert prompt.tools is None
    assert (
        "1. Name: Weather\nDescription: The weather of a city.\nParameters: {" in system["content"]
    )
    assert '"Parameter name": "Parameter content", "... ...": "... ..."}}\n' in system["content"]
    assert system["content"].endswith("Be brief.")
    assert user["content"].startswith(
        "**Dialogue Records History**\n<user> How is it in Zürich? </user>"
    )
    assert '<tool_call>\n{"name": "Weather", "parameters": {"city": "Zürich"}}' in user["content"]
    assert '<obs> [{"name": "Weather", "results": {"sky": "blue"}}] </obs>' in user["content"]
    assert user["content"].endswith("<user> And tomorrow? </user>")


def test_template_leaves_tools_and_calls_to_the_chat_template():
    prompt = word(DIALOGUE, "template", get_dialect("hermes"))
    assert [m["role"] for m in prompt.messages] == [
        *("system", "user", "assistant", "tool", "assistant", "user"),
    ]
    called, answered = prompt.messages[2], prompt.messages[3]
    assert called["tool_calls"][0]["function"] == {
        "name": "Weather",
        "arguments": {"city": "Zürich"},
    }
    assert called["tool_calls"][0]["id"] == answered["tool_call_id"]
    assert prompt.tools[0]["function"]["name"] == "Weather"


@pytest.mark.parametrize(
    ("dialect", "identity"), [("mistral", "call00000"), ("kimi", "functions.Weather:0")]
)
def test_a_calls_id_is_what_the_dialects_templates_ask_for(dialect, identity):
    messages = word(DIALOGUE, "template", get_dialect(dialect)).messages
    assert messages[2]["tool_calls"][0]["id"] == messages[3]["tool_call_id"] == identity


def test_plain_shows_a_call_in_the_dialect():
    prompt = word(DIALOGUE, "plain", get_dialect("pythonic"))
    assert '[tool_name(parameter_name="value")]' in prompt.messages[0]["content"].replace("'", '"')
    assert prompt.messages[2]["content"].replace("'", '"') == '[Weather(city="Zürich")]'
    assert json.loads(prompt.messages[3]["content"].split("\n")[1])["result"] == '{"sky": "blue"}'


@pytest.mark.parametrize("style", style_names())
def test_a_dialogue_without_tools_and_with_braces_is_worded(style):
    odd = Dialogue((), (UserTurn("{x} {{y}} %s"),))
    messages = word(odd, style, get_dialect("rlla")).messages
    assert "{x} {{y}} %s" in messages[-1]["content"]


def test_the_style_follows_the_dialect_and_the_template():
    assert default_style("rlla", "{{ tools }}") == "rlla"
    assert default_style("hermes", "{{ tools }}") == "template"
    assert default_style("hermes", "{{ messages }}") == default_style("pythonic", None) == "plain"
    with pytest.raises(InputError, match="did you mean 'plain'"):
        word(DIALOGUE, "plian", get_dialect("rlla"))


@pytest.mark.skipif("TOOLREST_DATA" not in os.environ, reason="TOOLREST_DATA is not set")
def test_the_rlla_wording_is_that_of_the_real_rows():
    """A real row's prompt, byte for byte, from its tools and its question."""
    import pyarrow.parquet

    file = Path(os.environ["TOOLREST_DATA"]) / "rlla_test.parquet"
    (system, user), *_ = pyarrow.parquet.read_table(file).column("prompt").to_pylist()
    lines = system["content"].split("use the following tools:\n")[1].split("\n\n**Steps")[0]
    tools = []
    for name, about, parameters in zip(*[iter(lines.split("\n"))] * 3, strict=True):
        properties = json.loads(parameters.removeprefix("Parameters: "))
        tools.append(
            Tool(
                name.split("Name: ")[1],
                about.removeprefix("Description: "),
                {"type": "object", "properties": properties},
            )
        )
    asked = user["content"].split("<user> ")[1].removesuffix(" </user>")
    prompt = word(Dialogue(tuple(tools), (UserTurn(asked),)), "rlla", get_dialect("rlla"))
    assert prompt.messages[0]["content"] == system["content"]
    assert prompt.messages[1]["content"] == user["content"]
