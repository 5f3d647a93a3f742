"""ShareGPT's rows, as LLaMA-Factory, APIGen-MT and Hermes' data have them."""

import json

import pytest
from test_formats import TOOLACE

from toolrest.core.dialects import ToolCall
from toolrest.data.dialogue import Action, Observation, UserTurn
from toolrest.data.formats import detect_format, get_format
from toolrest.data.rows import BadRow

TOOL = {
    "name": "cancel",
    "description": "Cancels.",
    "parameters": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
}
POLICY = "# Policy\nYou are a retail agent. Output [] when nothing is due."


def said(*pairs):
    return [{"from": who, "value": value} for who, value in pairs]


APIGEN = {
    "system": POLICY,
    "tools": json.dumps([TOOL]),
    "conversations": said(
        ("human", "Cancel order 7"),
        ("function_call", '{"name": "cancel", "arguments": {"id": "7"}}'),
        ("observation", '{"ok": true}'),
        ("gpt", "Done."),
    ),
}
TURNS = (
    UserTurn("Cancel order 7"),
    Action((ToolCall("cancel", {"id": "7"}),)),
    Observation((("cancel", '{"ok": true}'),)),
    Action(response="Done."),
)


def read(row):
    form = detect_format(row)
    assert form is not None
    return form.name, form.read(row).dialogue


def test_the_columns_and_all_speakers_are_read():
    name, found = read(APIGEN)
    assert (name, found.system, found.turns) == ("sharegpt", POLICY, TURNS)
    (tool,) = found.tools
    assert tool.parameters == TOOL["parameters"]


@pytest.mark.parametrize(
    "row",
    [
        APIGEN | {"tools": [TOOL]},
        APIGEN | {"tools": [json.dumps(TOOL)]},
        APIGEN | {"tools": json.dumps([{"type": "function", "function": TOOL}])},
        APIGEN | {"conversations": json.dumps(APIGEN["conversations"])},
        APIGEN
        | {"system": None, "conversations": [*said(("system", POLICY)), *APIGEN["conversations"]]},
        APIGEN
        | {
            "conversations": said(
                ("user", "Cancel order 7"),
                ("tool_call", '[{"name": "cancel", "arguments": "{\\"id\\": \\"7\\"}"}]'),
                ("tool", {"ok": True}),
                ("assistant", "Done."),
            )
        },
        APIGEN
        | {
            "conversations": said(
                ("human", "Cancel order 7"),
                ("function", '{"name": "cancel", "parameters": {"id": "7"}}'),
                ("observation", '{"ok": true}'),
                ("gpt", "Done."),
            )
        },
        APIGEN
        | {
            "conversations": [
                {"role": "user", "content": "Cancel order 7"},
                {
                    "role": "function_call",
                    "content": '{"name": "cancel", "arguments": {"id": "7"}}',
                },
                {"role": "observation", "content": '{"ok": true}'},
                {"role": "assistant", "content": "Done."},
            ]
        },
        APIGEN
        | {
            "conversations": said(
                ("human", "Cancel order 7"),
                (
                    "gpt",
                    '<tool_call>\n{"name": "cancel", "arguments": {"id": "7"}}\n</tool_call>',
                ),
                ("tool", '<tool_response>\n{"ok": true}\n</tool_response>'),
                ("gpt", "Done."),
            )
        },
    ],
)
def test_every_writing_of_the_same_row(row):
    assert read(row) == ("sharegpt", read(APIGEN)[1])


def test_keys_of_another_forms_messages_may_be_null():
    """As Arrow writes them where a file has rows of both."""
    both = [each | {"role": None, "content": None} for each in APIGEN["conversations"]]
    assert read(APIGEN | {"conversations": both}) == read(APIGEN)
    other = [
        {"role": "user", "content": "q", "from": None, "value": None},
        {"role": "assistant", "content": "a", "from": None, "value": None},
    ]
    assert read({"messages": other})[1].turns == (UserTurn("q"), Action(response="a"))


def test_two_calls_and_two_results():
    calls = json.dumps([{"name": "cancel", "arguments": {"id": each}} for each in ("7", "8")])
    row = APIGEN | {
        "conversations": said(
            ("human", "Both"),
            ("function_call", calls),
            ("observation", "a"),
            ("observation", "b"),
            ("gpt", "Done."),
        )
    }
    _, found = read(row)
    assert [call.parameters["id"] for call in found.turns[1].calls] == ["7", "8"]
    assert found.turns[2] == Observation((("cancel", "a"), ("cancel", "b")))


LISTED = f"Here are functions:\n[{json.dumps(TOOL)}]\nCall them."


@pytest.mark.parametrize(
    ("system", "pairs", "name"),
    [
        (LISTED, (("user", "q"), ("assistant", '[cancel(id="7")]')), "toolace"),
        (LISTED, (("user", "q"), ("assistant", "Which?")), "toolace"),
        (LISTED, (("human", "q"), ("gpt", '[cancel(id="7")]')), "toolace"),
        ("You can invoke:\n[]. \nAnswer.", (("user", "q"), ("assistant", "No.")), "toolace"),
        (LISTED, (("human", "q"), ("gpt", "Which?")), "sharegpt"),
        (LISTED, (("user", "q"), ("assistant", '<tool_call>{"name"')), "sharegpt"),
        (POLICY, (("user", "q"), ("assistant", "Which?")), "sharegpt"),
        (POLICY, (("human", "q"), ("gpt", "Which?")), "sharegpt"),
        ("", (("human", "q"), ("gpt", "Which?")), "sharegpt"),
        ("A list [{] that is none", (("user", "q"), ("assistant", "Which?")), "sharegpt"),
    ],
)
def test_where_the_keys_are_the_same_the_values_tell(system, pairs, name):
    assert detect_format({"system": system, "conversations": said(*pairs)}).name == name


def test_the_column_of_tools_is_never_left_out():
    row = TOOLACE | {"tools": json.dumps([TOOL])}
    assert read(row | {"conversations": APIGEN["conversations"]})[0] == "sharegpt"
    with pytest.raises(BadRow, match="a tool that the row does not list"):
        read(row)  # its calls are of the tools in its system text


def test_what_toolace_says_besides_its_tools_is_kept():
    assert get_format("toolace").read(TOOLACE).dialogue.system is None
    told = {
        "system": f"Today is Monday. {TOOLACE['system']}\nNO other text MUST be included.\nBye."
    }
    found = get_format("toolace").read(TOOLACE | told).dialogue
    assert found.system == "Today is Monday. Bye."
    assert found.tools == get_format("toolace").read(TOOLACE).dialogue.tools


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tools": "[{"}, "tools is not JSON"),
        ({"tools": '{"name": "f"}'}, "tools is not a list of objects"),
        ({"conversations": "[{'from': 'human'}]"}, "nor the JSON text of one"),
        ({"conversations": said(("cat", "x"))}, "'cat'"),
        ({"conversations": said(("human", "x"), ("function_call", "f(x)"))}, "not JSON"),
        ({"system": 5}, "system is a number"),
        ({"functions": [TOOL]}, "both tools and functions"),
    ],
)
def test_what_is_wrong_is_said(changed, words):
    with pytest.raises(BadRow, match=words):
        get_format("sharegpt").read(APIGEN | changed)
