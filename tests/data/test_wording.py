"""Prompts of a dialogue in every wording."""

import copy
import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
import trl
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.data.dialogue import Action, Dialogue, Observation, Tool, UserTurn
from toolrest.data.prompts import render_chat
from toolrest.data.wording import Prompt, split_parallel, style_names, word
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


def test_plain_asks_for_a_thought_where_one_is_wanted():
    (system, *_) = word(DIALOGUE, "plain", get_dialect("hermes"), think=True).messages
    assert "First think, between <think> and </think>. To call tools" in system["content"]
    (system, *_) = word(DIALOGUE, "plain", get_dialect("gemma4"), think=True).messages
    assert "between <|channel>thought and <channel|>. " in system["content"]
    for style in ("rlla", "template"):
        asked = word(DIALOGUE, style, get_dialect("hermes"), think=True)
        assert asked == word(DIALOGUE, style, get_dialect("hermes"))


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


def test_an_unknown_style_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'plain'"):
        word(DIALOGUE, "plian", get_dialect("rlla"))


def calls_and_results(*pairs, **more):
    """A message of calls (name, id), and a result of each."""
    listed = [{"id": i, "function": {"name": n, "arguments": {}}} for n, i in pairs]
    answers = [{"role": "tool", "tool_call_id": i, "content": f"of {n}"} for n, i in pairs]
    return {"role": "assistant", "content": "", "tool_calls": listed, **more}, answers


def test_parallel_calls_are_split_with_their_results():
    message, (f, g, h) = calls_and_results(("f", "1"), ("g", "2"), ("h", "3"))
    message |= {"content": "I look.", "reasoning_content": "t"}
    user, last = {"role": "user", "content": "q"}, {"role": "assistant", "content": "done"}
    first, second, third = message["tool_calls"]
    empty = {"role": "assistant", "content": ""}
    before = [user, message, h, f, last, user]
    assert split_parallel(before) == [
        *(user, message | {"tool_calls": [first]}, f),
        empty | {"tool_calls": [second]},
        *(empty | {"tool_calls": [third]}, h, last, user),
    ]
    assert before[1] is message and message["tool_calls"] == [first, second, third]
    assert split_parallel([user, message]) == [
        user,
        message | {"tool_calls": [first]},
        empty | {"tool_calls": [second]},
        empty | {"tool_calls": [third]},
    ]
    bare = [{key: value for key, value in each.items() if key != "tool_call_id"} for each in (f, g)]
    split = split_parallel([message, *bare, h])
    assert [each["content"] for each in split if each["role"] == "tool"] == [
        *("of f", "of g", "of h"),
    ]


@given(counts=st.lists(st.integers(0, 3), max_size=5))
def test_split_messages_have_one_call_each_and_lose_nothing(counts):
    messages = []
    for at, count in enumerate(counts):
        message, results = calls_and_results(*((f"f{n}", f"{at}.{n}") for n in range(count)))
        messages += [message, *results]
    split = split_parallel(messages)
    calls = [call for each in split for call in each.get("tool_calls") or ()]
    assert calls == [call for each in messages for call in each.get("tool_calls") or ()]
    assert all(len(each.get("tool_calls") or ()) < 2 for each in split)
    assert [each for each in split if each["role"] == "tool"] == [
        each for each in messages if each["role"] == "tool"
    ]
    for call, answer in pairwise(split):
        if call.get("tool_calls"):
            assert answer["tool_call_id"] == call["tool_calls"][0]["id"]
    assert split_parallel(split) == split


def test_a_template_that_writes_one_call_a_message_takes_what_is_split(embedded_tokenizer):
    both = Dialogue(
        (WEATHER,),
        (
            UserTurn("Both."),
            Action((CALL, ToolCall("Weather", {"city": "Bern"}))),
            Observation((("Weather", "rain"), ("Weather", "snow"))),
        ),
    )
    prompt = word(both, "template", get_dialect("llama3"))
    tokenizer = copy.deepcopy(embedded_tokenizer)
    templates = Path(trl.__file__).parent / "chat_templates"
    tokenizer.chat_template = (templates / "llama3_1.jinja").read_text()
    with pytest.raises(TemplateError, match="single tool-calls"):
        tokenizer.apply_chat_template(prompt.messages, tools=prompt.tools)
    split = Prompt(split_parallel(prompt.messages), prompt.tools)
    text = tokenizer.decode(render_chat(split, tokenizer))
    places = [text.index(part) for part in ("Zürich", "rain", "Bern", "snow")]
    assert places == sorted(places)


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
