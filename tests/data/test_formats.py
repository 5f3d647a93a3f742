"""Rows in the published layouts, written by hand, whole and with each field broken."""

import json

import pytest

from toolrest.core.dialects import ToolCall
from toolrest.data.dialogue import Action, Observation, UserTurn
from toolrest.data.formats import detect_format, format_names, get_format
from toolrest.data.rows import BadRow
from toolrest.errors import InputError

TOOLACE = {
    "system": "You are an expert in composing functions.\nHere is a list of functions in JSON "
    "format that you can invoke:\n"
    '[{"name": "Get Weather", "description": "Weather.", "parameters": {"type": "dict", '
    '"properties": {"city": {"type": "string", "description": "d"}}, "required": ["city"]}}]. \n'
    "Should you decide to return the function call(s), put them in [func1(a=1)].",
    "conversations": [
        {"from": "user", "value": "How is Rome?"},
        {"from": "assistant", "value": '[Get Weather(city="Rome"), Get Weather(city="Bern")]'},
        {"from": "tool", "value": '[{"name": "Get Weather", "results": {"sky": "blue"}}]'},
        {"from": "assistant", "value": "It is blue."},
    ],
}
XLAM = {
    "id": 0,
    "query": "Where can I find live giveaways?",
    "answers": '[{"name": "live_giveaways_by_type", "arguments": {"type": "beta"}}]',
    "tools": '[{"name": "live_giveaways_by_type", "description": "d", "parameters": '
    '{"type": {"description": "d", "type": "str", "default": "game"}, '
    '"page": {"description": "d", "type": "int, optional"}, "n": {"type": "int, optional"}}}]',
}
MESSAGES = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "How is "}, {"text": "Rome?"}]},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "I look.",
            "tool_calls": [
                {"id": "1", "function": {"name": "w", "arguments": '{"city": "Rome"}'}},
                {"id": "2", "type": "function", "function": {"name": "v", "arguments": {}}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "blue"},
        {"role": "tool", "tool_call_id": "2", "content": "grey"},
        {"role": "assistant", "content": "Blue and grey."},
    ],
    "tools": [
        {"type": "function", "function": {"name": "w", "description": "d", "parameters": {}}},
        {"name": "v"},
    ],
}
BFCL = {
    "id": "simple_python_0",
    "question": [[{"role": "user", "content": "The area?"}]],
    "function": [
        {"name": "area", "description": "d", "parameters": {"type": "dict", "properties": {}}}
    ],
    "ground_truth": [{"area": {"base": [10, 11], "unit": ["units", ""], "at": [{"x": [1, 2]}]}}],
}
APIBANK = {
    "system": "S\nuse the following tools:\n1. Book: Books.\nParameters: {'to': {'type': 'str'}}"
    "\n\n**Steps for Each Turn**",
    "user": "**Dialogue Records History**\n<user>To Rome.</user>\n<response>Well.</response>\n",
    "answer": [{"name": "Book", "parameters": {"to": "Rome"}}],
}


def read(row):
    return detect_format(row).read(row)


def test_toolace():
    found = read(TOOLACE).dialogue
    (tool,) = found.tools
    assert (tool.name, list(tool.parameters["properties"])) == ("Get Weather", ["city"])
    assert found.turns == (
        UserTurn("How is Rome?"),
        Action(
            (ToolCall("Get Weather", {"city": "Rome"}), ToolCall("Get Weather", {"city": "Bern"}))
        ),
        Observation((("Get Weather", '{"sky": "blue"}'),)),
        Action(response="It is blue."),
    )


def test_xlam():
    required = XLAM["tools"].replace('"n": {"type": "int, optional"}', '"n": {"type": "int"}')
    found = read(XLAM | {"tools": required}).dialogue
    (tool,) = found.tools
    assert tool.parameters["required"] == ["n"]
    assert found.turns[-1] == Action((ToolCall("live_giveaways_by_type", {"type": "beta"}),))


def test_messages():
    found = read(MESSAGES).dialogue
    assert found.system == "Be brief."
    assert [tool.name for tool in found.tools] == ["w", "v"]
    assert found.turns == (
        UserTurn("How is Rome?"),
        Action((ToolCall("w", {"city": "Rome"}), ToolCall("v", {})), None, "I look."),
        Observation((("w", "blue"), ("v", "grey"))),
        Action(response="Blue and grey."),
    )
    assert read(MESSAGES | {"tools": json.dumps(MESSAGES["tools"])}).dialogue == found


def test_bfcl_takes_first_values_and_leaves_out_what_may_be_left_out():
    found = read(BFCL).dialogue
    assert found.turns[-1] == Action((ToolCall("area", {"base": 10, "at": {"x": 1}}),))
    assert len(read(BFCL | {"ground_truth": None}).dialogue.turns) == 1


def test_api_bank():
    found = read(APIBANK)
    assert [tool.name for tool in found.dialogue.tools] == ["Book"]
    assert found.dialogue.turns == (
        UserTurn("To Rome."),
        Action(response="Well."),
        Action((ToolCall("Book", {"to": "Rome"}),)),
    )
    assert found.prompt[0]["content"] == APIBANK["system"]
    assert read(APIBANK | {"answer": APIBANK["answer"][0]}).last == found.last


GOOD = {"toolace": TOOLACE, "xlam": XLAM, "messages": MESSAGES, "bfcl": BFCL, "apibank": APIBANK}


@pytest.mark.parametrize("name", GOOD)
def test_a_format_is_seen_from_its_keys(name):
    assert detect_format(GOOD[name]).name == name
    assert detect_format({"x": 1}) is None


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name in GOOD for key in sorted(get_format(name).keys)]
)
@pytest.mark.parametrize("value", [None, 5, "", "{", "[1]", [], {}, [5], "[[[[", {"a": 1}])
def test_each_field_missing_or_of_another_kind_is_a_bad_row_or_a_value(name, key, value):
    """Never another exception; what may be empty (tools, system texts) may be."""
    row = GOOD[name] | {key: value}
    try:
        get_format(name).read(row)
    except BadRow as bad:
        assert str(bad)
    else:
        assert value in ("", [], None, {}) or key in ("system", "user", "query", "function")


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("toolace", TOOLACE | {"system": "no list"}, "no JSON list of tools"),
        ("toolace", TOOLACE | {"system": "[{bad]"}, "not JSON"),
        ("toolace", TOOLACE | {"conversations": [{"from": "cat", "value": ""}]}, "'cat'"),
        ("toolace", TOOLACE | {"conversations": [{"from": "user"}]}, "no a conversation's value"),
        (
            "toolace",
            TOOLACE
            | {"conversations": [{"from": "assistant", "value": "[f(a=__import__('os'))]"}]},
            "cannot be read",
        ),
        ("xlam", XLAM | {"answers": "[]"}, "answers is empty"),
        ("xlam", XLAM | {"answers": '[{"arguments": {}}]'}, "no a call's name"),
        ("xlam", XLAM | {"answers": '[{"name": "f", "arguments": [1]}]'}, "not an object"),
        ("xlam", XLAM | {"tools": '[{"name": "f", "parameters": [1]}]'}, "not an object"),
        ("messages", {"messages": [{"role": "cat", "content": ""}]}, "'cat'"),
        ("messages", {"messages": [{"role": "assistant", "content": " "}]}, "neither calls"),
        ("bfcl", BFCL | {"question": [[], []]}, "2 turns"),
        ("bfcl", BFCL | {"ground_truth": [{"a": {}, "b": {}}]}, "2 functions"),
        ("apibank", APIBANK | {"answer": []}, "answer is empty"),
    ],
)
def test_what_is_wrong_is_said(name, row, words):
    with pytest.raises(BadRow, match=words):
        get_format(name).read(row)


def test_an_unknown_format_is_named_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'xlam'"):
        get_format("xlan")
    assert {"rlla", "rlla_json", "prompt", "sharegpt", *GOOD} == set(format_names())
