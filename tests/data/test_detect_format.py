"""A format is seen from all of a row's keys; none that matters is left out in silence."""

import json

import pytest
from test_formats import APIBANK, BFCL, MESSAGES, TOOLACE, XLAM
from test_sharegpt import APIGEN

from toolrest.data.decompose import Rendering
from toolrest.data.formats import detect_format, format_names, get_format
from toolrest.data.rows import BadRow
from toolrest.data.sources import Skipped, Source, iterate_samples, read_rows
from toolrest.errors import InputError

TRUTH = '<think> t </think>\n<tool_call>\n{"name": "a", "parameters": {}}\n</tool_call>'
PROMPT = [{"role": "user", "content": "q"}]
RLLA = {"prompt": PROMPT, "reward_model": {"ground_truth": TRUTH, "style": "rule"}}
ROWS = {
    "rlla": RLLA,
    "rlla_json": {"instruction": "s", "input": "u", "output": TRUTH},
    "apibank": APIBANK,
    "toolace": TOOLACE,
    "xlam": XLAM,
    "bfcl": BFCL,
    "messages": MESSAGES,
    "sharegpt": APIGEN,
    "prompt": {"prompt": PROMPT, "ground_truth": TRUTH},
}


def test_every_format_is_here():
    assert set(ROWS) == set(format_names())


@pytest.mark.parametrize("name", ROWS)
def test_keys_of_no_content_and_empty_ones_change_nothing(name):
    row = ROWS[name]
    extra = {"id": "7", "data_source": "s", "extra_info": {"a": 1}, "score": 0.5, "used": ["x"]}
    others = {key: None for each in ROWS.values() for key in each if key not in row}
    empty = {key: [] for key in ("history", "completion", "images", "tools_json")}
    assert detect_format(extra | row | others | empty).name == name


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("rlla", {"tools": "[{}]"}),
        ("rlla", {"ground_truth": TRUTH}),
        ("rlla_json", {"system": "s"}),
        ("rlla_json", {"history": [["a", "b"]]}),
        ("apibank", {"tools": "[{}]"}),
        ("xlam", {"system": "Be brief."}),
        ("xlam", {"messages": MESSAGES["messages"]}),
        ("bfcl", {"tools": [{"name": "f"}]}),
        ("messages", {"prompt": "q"}),
        ("messages", {"answers": "[]x"}),
        ("messages", {"tools_json": "[{}]"}),
        ("messages", {"available_functions": [{"name": "f"}]}),
        ("messages", {"images": ["a.png"]}),
        ("messages", {"answer": 0}),
        ("messages", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("sharegpt", {"chosen": {"from": "gpt", "value": "x"}}),
        ("prompt", {"system": "s"}),
        ("prompt", {"completion": "x"}),
    ],
)
def test_a_key_that_would_be_left_out_is_a_bad_row(name, more):
    (key,) = more
    with pytest.raises(BadRow, match=f"'{key}'.* would be ignored in the format {name}"):
        detect_format(ROWS[name] | more)


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_named_format_may_leave_out_another_writing_but_not_what_is_to_be_seen(tmp_path):
    twice = lines(tmp_path / "a.jsonl", [MESSAGES | {"prompt": "q"}])
    (sample, _) = iterate_samples(Source(twice, format="messages"), Rendering(), 0)
    assert "Rome" in sample.ground_truth
    for name, more in (("toolace", "tools"), ("xlam", "system"), ("prompt", "system")):
        row = ROWS[name] | {more: json.dumps([{"name": "f"}])}
        (read,) = read_rows(Source(lines(tmp_path / "b.jsonl", [row]), format=name), Rendering(), 0)
        assert f"'{more}' would be ignored in the format {name}" in str(read.bad)


def test_each_row_of_a_file_has_its_own_format(tmp_path):
    rows = [ROWS["messages"], {"x": 1}, TOOLACE, {"messages": None}, APIGEN, XLAM]
    path = lines(tmp_path / "a.jsonl", rows)
    read = list(read_rows(Source(path), Rendering(), 0))
    assert [len(each.samples) for each in read] == [2, 0, 2, 0, 2, 1]
    assert "messages is not a list" in str(read[1].bad)
    assert "messages is not a list" in str(read[3].bad)


def test_a_file_of_nothing_known_is_one_error(tmp_path):
    path = lines(tmp_path / "a.jsonl", [{"x" * 5000: 1}, MESSAGES])
    with pytest.raises(InputError, match=r"none of the formats rlla, .*name the format") as caught:
        list(iterate_samples(Source(path), Rendering(), 0, Skipped()))
    assert len(str(caught.value)) < 1000


def test_a_format_reads_its_rows_whatever_else_is_named():
    assert get_format("xlam").read(XLAM | {"note": "x"}) == get_format("xlam").read(XLAM)


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("key", ["apis", "api_list", "tool_definitions", "schema", "tool_list"])
def test_a_list_of_tools_is_seen_under_any_name(key, as_text):
    bare = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
    other = {"name": "f", "input_schema": {"type": "object"}}
    for tool in (bare, {"type": "function", "function": bare}, other):
        value = json.dumps([tool]) if as_text else [tool]
        row = {"messages": [{"role": "user", "content": "q"}], key: value}
        with pytest.raises(BadRow, match=f"'{key}' would be ignored"):
            detect_format(row)


@pytest.mark.parametrize("value", ["[x", "[]", [{"name": "n"}], [1], "[1]", {"name": "n"}, "[" * 9])
def test_what_lists_no_tools_is_left_alone(value):
    row = {"messages": [{"role": "user", "content": "q"}], "notes": value}
    found = detect_format(row)
    assert found is not None and found.name == "messages"
