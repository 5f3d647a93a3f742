"""Halves of characters, which no encoding can write: replaced in prompts, refused in replies."""

import json

import pytest

from toolrest.data.decompose import Rendering
from toolrest.data.sources import Source, read_rows

HALF = "\ud83d"
ROWS = {
    "messages": lambda a, b: {
        "messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}],
        "tools": [{"name": "f", "description": a, "parameters": {"properties": {"x": {}}}}],
    },
    "prompt": lambda a, b: {"prompt": [{"role": "user", "content": a}], "ground_truth": b},
    "rlla_json": lambda a, b: {
        "instruction": a, "input": a, "output": f"<think> t </think>\n<response> {b} </response>"
    },
    "rlla": lambda a, b: {
        "prompt": [{"role": "user", "content": a}],
        "reward_model": {"ground_truth": f"<think> t </think>\n<response> {b} </response>"},
    },
    "prepared": lambda a, b: {
        "prompt": [{"role": "user", "content": a}], "reward_model": {"ground_truth": b},
        "dialect": "rlla", "demonstration": b,
    },
}  # fmt: skip


def read(tmp_path, row, dialect):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (found,) = read_rows(Source(str(path)), Rendering(dialect), 0)
    return found


@pytest.mark.parametrize("name", ROWS)
def test_prompts_can_be_encoded_and_replies_are_refused(tmp_path, name):
    dialect = "hermes" if name in ("messages", "prompt") else "rlla"
    found = read(tmp_path, ROWS[name](f"a{HALF}", "b"), dialect)
    (sample,) = found.samples
    shown = json.dumps([sample.prompt, sample.tools, sample.declared], ensure_ascii=False)
    assert "a\ufffd" in shown
    shown.encode()
    bad = read(tmp_path, ROWS[name]("a", f"b{HALF}"), dialect).bad
    assert "half of a character ('\\ud83d')" in str(bad)
    assert read(tmp_path, ROWS[name]("a", "b\U0001f600"), dialect).bad is None
