"""Tools whose schemas stay as they are, and calls with or without arguments."""

import json

import pytest

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.data.dialogue import Dialogue, UserTurn
from toolrest.data.formats.json_fields import call, tool
from toolrest.data.rows import BadRow
from toolrest.data.wording import style_names, word

TEXT = {"type": "string"}
SCHEMAS = [
    {"type": "object"},
    {"type": "object", "additionalProperties": TEXT},
    {"type": "object", "additionalProperties": False},
    {"additionalProperties": TEXT},
    {"additionalProperties": {"type": "string", "description": "any label"}},
    {"$ref": "#/$defs/F", "$defs": {"F": {"type": "object", "properties": {"a": TEXT}}}},
    {"$defs": {"type": TEXT, "description": TEXT}},
    {"definitions": {"description": TEXT}},
    {"anyOf": [{"type": "object", "properties": {"a": TEXT}}, {"type": "null"}]},
    {"oneOf": [{"required": ["a"]}], "properties": {"a": TEXT, "b": True, "c": False}},
    {"allOf": [{"$ref": "#/x"}]},
    {"patternProperties": {"^a": TEXT}},
    {"not": {"type": "string", "description": "x"}},
    {"if": {"type": "string"}, "then": {"description": "x"}, "else": {}},
    {"properties": {"type": TEXT, "description": TEXT}},
    {"properties": {"type": {"type": "string", "description": "d"}}},
    {"type": "object", "properties": {}},
    {"properties": {}},
    {"type": "dict", "required": ["a"]},
    {"description": "free"},
    {"title": "A", "type": "object"},
    {"a": "string"},
    {"a": {}},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@pytest.mark.parametrize("dump", [lambda each: each, json.dumps])
def test_a_schema_stays_as_it_is(schema, dump):
    assert tool({"name": "f", "parameters": dump(schema)}).parameters == schema
    openai = {"type": "function", "function": {"name": "f", "parameters": dump(schema)}}
    assert tool(openai).parameters == schema
    assert tool({"name": "f", "input_schema": dump(schema)}).parameters == schema


@pytest.mark.parametrize(
    ("by_name", "needed"),
    [
        ({"a": {"type": "str", "description": "d"}}, ["a"]),
        ({"a": {"type": "str, optional"}, "b": {"type": "int", "default": 5}, "c": TEXT}, ["c"]),
        ({"type": {"type": "str", "description": "d"}}, ["type"]),
        ({"items": {"type": "array"}, "title": {"description": "d"}}, ["items", "title"]),
        ({"required": {"type": "bool", "default": ""}, "enum": {"default": 1}}, ["required"]),
    ],
)
def test_parameters_by_name_become_a_schema(by_name, needed):
    made = tool({"name": "f", "parameters": by_name}).parameters
    assert made == {"type": "object", "properties": by_name, "required": needed}


def test_nothing_is_a_tool_without_parameters():
    for nothing in ({}, None, "", "null", "{}"):
        assert tool({"name": "f", "parameters": nothing}).parameters == {
            "type": "object",
            "properties": {},
        }


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"properties": "a"}, "properties of f's parameters are a text"),
        ({"properties": {"a": "string"}}, "'a' of f is a text"),
        ({"properties": {}, "required": [5]}, "what f requires"),
        ([], None),
        ([1], "are a list, not an object"),
        ("[", "not JSON"),
    ],
)
def test_what_is_no_schema_is_said(parameters, words):
    if words is None:
        assert tool({"name": "f", "parameters": parameters}).parameters["properties"] == {}
        return
    with pytest.raises(BadRow, match=words):
        tool({"name": "f", "parameters": parameters})


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@pytest.mark.parametrize("style", style_names())
def test_every_wording_says_all_of_a_schema(schema, style):
    dialogue = Dialogue((tool({"name": "f", "parameters": schema}),), (UserTurn("q"),))
    prompt = word(dialogue, style, get_dialect("rlla"))
    said = json.dumps([prompt.messages, prompt.tools])
    for key in schema:
        if key not in ("type", "properties", "required", "title", "description"):
            assert key in said or schema[key] is False
    for name in schema.get("properties") or {}:
        assert name in said


# Arguments

PING = {"ping": tool({"name": "ping", "parameters": {"type": "object", "properties": {}}})}
ASKING = {
    "ping": tool({"name": "ping", "parameters": {"properties": {"to": {}}, "required": ["to"]}})
}
NOTHING = ["", " ", "null", None, '"{}"', '""', "[]", [], "{}", {}]


@pytest.mark.parametrize("given", NOTHING)
def test_nothing_is_no_arguments_where_none_is_asked_for(given):
    for listed in (PING, {}):
        assert call({"name": "ping", "arguments": given}, "arguments", listed) == ToolCall(
            "ping", {}
        )
    assert call({"name": "ping"}, "arguments", PING) == ToolCall("ping", {})


@pytest.mark.parametrize("given", ["", " ", "null", None, '""', "[]", []])
def test_nothing_is_a_bad_row_where_something_is_asked_for(given):
    with pytest.raises(BadRow, match="the call of ping has no arguments, and it requires to"):
        call({"name": "ping", "arguments": given}, "arguments", ASKING)


@pytest.mark.parametrize("given", ['{"to": null}', '"{\\"to\\": null}"', {"to": None}])
def test_arguments_may_be_a_text_or_the_text_of_a_text(given):
    assert call({"name": "ping", "arguments": given}, "arguments", ASKING) == ToolCall(
        "ping", {"to": None}
    )


@pytest.mark.parametrize("given", ["{", "a", 5, True, [1], "5", '"a"', "[1]", "[{}]", "false"])
def test_what_is_no_arguments_is_said(given):
    with pytest.raises(BadRow, match=r"not JSON|not an object"):
        call({"name": "ping", "arguments": given}, "arguments", PING)


@pytest.mark.parametrize(
    "key",
    ["args", "arguments", "inputs", "input", "params", "api_parameters", "required_parameters",
     "args_schema", "schema", "properties"],
)  # fmt: skip
def test_a_schema_under_another_key_is_refused(key):
    inside = {"x": {"type": "string"}}
    for value in (inside, json.dumps(inside), [{"name": "x", "type": "string"}]):
        with pytest.raises(BadRow, match=f"the tool f has no parameters but '{key}'"):
            tool({"name": "f", key: value})
    known = tool({"name": "f", "parameters": {"type": "object", "properties": inside}, key: inside})
    assert known.parameters["properties"] == inside
    for nothing in ({}, None, "", []):
        assert tool({"name": "f", key: nothing}) == tool({"name": "f"})


@pytest.mark.parametrize("key", ["returns", "output_schema", "response", "result_parameters"])
def test_what_a_tool_answers_is_no_schema_of_its_inputs(key):
    assert tool({"name": "f", key: {"x": {"type": "string"}}}) == tool({"name": "f"})
