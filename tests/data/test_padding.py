"""Rows that Arrow has padded with nulls are what they were before."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Json, List, load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrest.data.decompose import Rendering
from toolrest.data.formats import detect_format
from toolrest.data.json_text import Written
from toolrest.data.padding import unpadded, without_nulls
from toolrest.data.rows import BadRow, iterate_rows
from toolrest.data.sources import Source, iterate_samples

HERMES = Rendering("hermes", "template", think=False)


def row(name, properties, arguments, required=(), text="Please."):
    """A question, a call and what the tool is."""
    schema = {"type": "object", "properties": properties, "required": list(required)}
    function = {"name": name, "description": f"{name} tool", "parameters": schema}
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {
        "messages": [
            {"role": "user", "content": text},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ],
        "tools": [{"type": "function", "function": function}],
    }


CITY = {"city": {"type": "string", "description": "City"}}
TRAIN = {
    "train": {"type": "integer", "description": "No"},
    "seats": {"type": "integer", "enum": [1, 2, 3]},
}
NESTED = {
    "trip": {
        "type": "object",
        "properties": {
            "to": {"type": "string"},
            "legs": {
                "type": "array",
                "items": {"type": "object", "properties": {"km": {"type": "integer"}}},
            },
        },
    }
}
ROWS = [
    row("weather", CITY, {"city": "Oslo"}, ["city"]),
    row("book", TRAIN, {"train": 7, "seats": 2}, ["train"]),
    row("book", TRAIN, {"train": 8}, ["train"]),
    row("ping", {}, {}),
    row("plan", NESTED, {"trip": {"to": "Bergen", "legs": [{"km": 3}, {}]}}),
    row("plan", NESTED, {"trip": {"legs": []}}),
]


def as_parquet(path, rows):
    Dataset.from_list(rows).to_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_jsonl(path, rows):
    Dataset.from_list(rows).to_json(path.with_suffix(".jsonl"))
    return path.with_suffix(".jsonl")


def as_pyarrow(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_json_items(path, rows):
    """The layout that TRL's documentation recommends."""
    features = Features({"messages": List(Json()), "tools": List(Json())})
    Dataset.from_list(rows, features=features).to_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_json_columns(path, rows):
    features = Features({"messages": Json(), "tools": Json()})
    Dataset.from_list(rows, features=features).to_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_json_texts(path, rows):
    """Each object in a list of strings: what a writer without Arrow's JSON type leaves."""
    texts = [{k: [json.dumps(o) for o in v] for k, v in each.items()} for each in rows]
    pq.write_table(pa.Table.from_pylist(texts), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_json(path, rows):
    path.with_suffix(".json").write_text(json.dumps(rows))
    return path.with_suffix(".json")


WRITINGS = (as_parquet, as_jsonl, as_pyarrow, as_json_items, as_json_columns, as_json_texts)


def records(path):
    found = [each for _, each in iterate_rows(str(path))]
    return [detect_format(each).read(each).dialogue for each in found]


@pytest.mark.parametrize("write", WRITINGS)
def test_every_writing_is_read_as_the_rows_that_were_written(tmp_path, write):
    wanted = records(as_json(tmp_path / "a", ROWS))
    assert records(write(tmp_path / "b", ROWS)) == wanted
    assert [turn.calls[0].parameters for _, turn in (each.turns for each in wanted)] == [
        each["messages"][1]["tool_calls"][0]["function"]["arguments"] for each in ROWS
    ]
    assert [each.tools[0].parameters for each in wanted] == [
        each["tools"][0]["function"]["parameters"] for each in ROWS
    ]


@pytest.mark.parametrize("write", WRITINGS)
def test_a_data_set_of_the_hub_is_read_so_too(tmp_path, monkeypatch, write):
    path = write(tmp_path / "a", ROWS)
    kind = {".jsonl": "json"}.get(path.suffix, "parquet")
    streamed = load_dataset(kind, data_files=str(path), split="train", streaming=True)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: streamed)
    assert records("some/data") == records(as_json(tmp_path / "b", ROWS))


VALUES = {
    "s": ({"type": "string"}, st.text("ab ", max_size=3)),
    "i": ({"type": "integer"}, st.integers(-9, 9)),
    "b": ({"type": "boolean"}, st.booleans()),
    "l": ({"type": "array", "items": {"type": "integer"}}, st.lists(st.integers(0, 9))),
    "o": (
        {"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "integer"}}},
        st.fixed_dictionaries(
            {}, optional={"x": st.text("ab", max_size=2), "y": st.integers(0, 9)}
        ),
    ),
}


@st.composite
def calling_rows(draw):
    """Rows whose tools have some of the parameters each, some of which are given."""
    made = []
    for number in range(draw(st.integers(1, 4))):
        names = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True))
        given_names = draw(st.sets(st.sampled_from(names))) if names else set()
        arguments = {name: draw(VALUES[name][1]) for name in names if name in given_names}
        required = draw(st.sets(st.sampled_from(sorted(given_names)))) if given_names else ()
        properties = {name: VALUES[name][0] for name in names}
        made.append(row(f"t{number % 2}", properties, arguments, sorted(required)))
    return made


@settings(max_examples=60, deadline=None)
@given(rows=calling_rows())
def test_random_rows_come_back_from_arrow(rows):
    """As arguments; the order of keys is Arrow's."""
    for padded, plain in zip(pa.Table.from_pylist(rows).to_pylist(), rows, strict=True):
        assert detect_format(padded).read(padded) == detect_format(plain).read(plain)


def test_the_right_call_is_what_was_given(tmp_path):
    samples = iterate_samples(Source(str(as_parquet(tmp_path / "a", ROWS))), HERMES, 0)
    truths = [sample.ground_truth for sample in samples]
    assert '"arguments": {"city": "Oslo"}}' in truths[0]
    assert not any("null" in truth for truth in truths)


NULLABLE = [
    {"type": ["string", "null"]},
    {"type": "string", "nullable": True},
    {"anyOf": [{"type": "string"}, {"type": "null"}]},
    {"oneOf": [{"type": "string"}, {"type": "null"}]},
    {"enum": ["a", None]},
    {"const": None},
    {"$ref": "#/$defs/maybe"},
    {"description": "anything"},
    {"type": "some type of somebody's"},
    {},
    True,
]
NEVER_NULL = [
    {"type": "string"},
    {"type": "str, optional"},
    {"type": ["string", "integer"]},
    {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    {"allOf": [{"type": ["string", "null"]}, {"type": "string"}]},
    {"enum": ["a", "b"]},
    {"const": "a"},
    {"$ref": "#/$defs/never"},
    False,
]
DEFS = {"maybe": {"type": ["string", "null"]}, "never": {"$ref": "#/$defs/text"}}
DEFS["text"] = {"type": "string"}


def schema(each, required=()):
    return {"type": "object", "properties": {"a": each}, "required": [*required], "$defs": DEFS}


@pytest.mark.parametrize("each", NULLABLE)
def test_a_null_that_the_schema_allows_is_data(each):
    assert unpadded({"a": None}, schema(each), schema(each)) == {"a": None}


@pytest.mark.parametrize("each", NEVER_NULL)
def test_a_null_that_the_schema_does_not_allow_is_another_rows_parameter(each):
    assert unpadded({"a": None, "b": None}, schema(each), schema(each)) == {}
    asked = schema(each, ["a"])
    assert unpadded({"a": None}, asked, asked) == {"a": None}  # wrong, and the row's own


@pytest.mark.parametrize(
    ("said", "value", "left"),
    [
        ({"properties": {"a": {"properties": {"b": {"type": "string"}}}}}, {"a": {"b": None}}, {}),
        ({"properties": {"a": {"properties": {"b": {}}}}}, {"a": {"b": None}}, {"b": None}),
        ({"properties": {"a": {}}}, {"a": {"b": None, "c": 1}}, {"c": 1}),
        (
            {"properties": {"a": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/o"}]}}},
            {"a": {"b": None, "c": None, "d": 1}},
            {"b": None, "d": 1},
        ),
        ({"additionalProperties": {"properties": {"b": {}}}}, {"a": {"b": None}}, {"b": None}),
    ],
)
def test_nested_objects_follow_their_own_schemas(said, value, left):
    whole = said | {
        "$defs": {
            "o": {
                "type": "object",
                "properties": {"b": {"nullable": True}, "c": {"type": "string"}},
            }
        }
    }
    assert unpadded(value, whole, whole) == {"a": left}


def test_maps_of_any_key_lose_the_keys_of_other_rows():
    labels = {"type": "object", "additionalProperties": {"type": "string"}}
    assert unpadded({"env": "prod", "team": None}, labels, labels) == {"env": "prod"}
    open_to_all = {"type": "object", "additionalProperties": True}
    assert unpadded({"env": "prod", "team": None}, open_to_all, open_to_all) == {"env": "prod"}
    nullable = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}
    assert unpadded({"env": None}, nullable, nullable) == {"env": None}


def test_items_of_lists_follow_the_items_schema():
    item = {"type": "object", "properties": {"b": {"type": "string"}, "c": {"nullable": True}}}
    said = {"properties": {"a": {"type": "array", "items": item}}}
    value = {"a": [{"b": None, "c": None}, None, {"b": "x", "d": None}]}
    assert unpadded(value, said, said) == {"a": [{"c": None}, None, {"b": "x"}]}


def test_what_a_json_text_says_stays():
    given_arguments = '{"city": "Oslo", "train": null, "more": {"x": null}}'
    tool = {"name": "weather", "parameters": {"type": "object", "properties": CITY}}
    call = {"function": {"name": "weather", "arguments": given_arguments}}
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]}]
    made = {"messages": messages, "tools": [tool]}
    for each in (made, {k: json.dumps(v) for k, v in made.items()}):
        (_, action) = detect_format(each).read(each).dialogue.turns
        assert action.calls[0].parameters == json.loads(given_arguments)


def test_null_keys_of_a_schema_are_padding_at_any_depth():
    padded = {
        "name": "f",
        "strict": None,
        "parameters": {
            "type": "object",
            "required": None,
            "properties": {
                "a": {"type": "array", "enum": None, "items": {"type": "string", "format": None}},
                "b": None,
                "c": {"anyOf": [{"type": "string", "maximum": None}, {"type": "null"}]},
            },
            "$defs": {"x": {"type": "integer", "const": None}, "y": None},
        },
    }
    assert without_nulls(padded) == {
        "name": "f",
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"type": "array", "items": {"type": "string"}},
                "c": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            },
            "$defs": {"x": {"type": "integer"}},
        },
    }


@pytest.mark.parametrize("write", [as_json_items, as_json_columns, as_json_texts])
def test_nulls_of_a_schema_that_is_json_stay(tmp_path, write):
    maybe = {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}
    rows = [row("f", {"a": maybe}, {"a": None}), row("g", CITY, {"city": "Oslo"})]
    (first, _) = records(write(tmp_path / "a", rows))
    assert first.tools[0].parameters["properties"]["a"] == maybe
    assert first.turns[1].calls[0].parameters == {"a": None}


def test_numbers_that_arrow_made_floats_are_what_the_schema_asks_for(tmp_path):
    rows = [
        row("f", {"n": {"type": "integer"}}, {"n": 5}),
        row("g", {"n": {"type": "number"}}, {"n": 2.5}),
        row("g", {"n": {"type": "number"}}, {"n": 3.0}),
    ]
    truths = [
        each.turns[1].calls[0].parameters for each in records(as_pyarrow(tmp_path / "a", rows))
    ]
    assert truths == [{"n": 5}, {"n": 2.5}, {"n": 3.0}]
    assert [type(each["n"]) for each in truths] == [int, float, float]


@pytest.mark.parametrize("value", [datetime.date(2024, 1, 1), b"x", datetime.timedelta(1)])
def test_what_json_cannot_say_is_a_bad_row(value):
    tool = {"properties": {"a": {}}}
    with pytest.raises(BadRow, match="JSON has no value"):
        unpadded({"a": [value]}, tool, tool)
    with pytest.raises(BadRow, match="JSON has no value"):
        without_nulls({"default": value})


def test_nulls_of_a_tools_answer_stay_where_they_were_written():
    """Arrow cannot keep texts and objects in one column: this row is not from it."""
    call = {"function": {"name": "f", "arguments": {}}}
    answer = {"next": None, "items": [{"a": None}]}
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": answer},
    ]
    (_, _, seen) = detect_format({"messages": messages}).read({"messages": messages}).dialogue.turns
    assert json.loads(seen.results[0][1]) == answer
    parts = [{"type": "text", "text": "q", "a": None}]
    messages = [messages[0] | {"content": parts}, messages[1]]
    messages.append({"role": "tool", "content": [{"type": None, "text": None, "a": 1}]})
    (_, _, seen) = detect_format({"messages": messages}).read({"messages": messages}).dialogue.turns
    assert seen.results[0][1] == '[{"a": 1}]'


def test_values_that_were_texts_are_told_apart():
    assert unpadded(Written({"a": None, "b": Written()}), {}, {}) == {"a": None, "b": {}}
    assert type(unpadded(Written(), {}, {})) is dict
