"""Rows that are made when a step asks for them are those of a data set that has them all."""

import json

import pytest
from datasets import Dataset
from tiny_policies import tokenizer_of

from toolrest.data.prompts import render_prompt
from toolrest.data.sample import Sample
from toolrest.data.stored import Lines
from toolrest.engines.trl import rows as rows_module
from toolrest.engines.trl.rows import training_rows

TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {}}}


def samples(kind):
    return [
        Sample(
            prompt=({"role": "user", "content": f"How is it in {number}?"},),
            ground_truth=f"t{number}",
            source="s",
            identity=str(number),
            tools=(TOOL,) if kind == "listed" else None,
            declared=(TOOL,) if kind == "declared" and number % 2 else (),
        )
        for number in range(6)
    ]


def whole(given, tokenizer):
    """All rows at once, as Arrow keeps them."""
    made = []
    for each in given:
        ids = render_prompt(each, tokenizer)
        row = {
            "prompt": list(each.prompt) if each.tools is None else tokenizer.decode(ids),
            "prompt_ids": ids,
            "ground_truth": each.ground_truth,
            "identity": each.identity,
        }
        if any(sample.declared for sample in given):
            row["tools"] = json.dumps(each.declared) if each.declared else None
        made.append(row)
    return Dataset.from_list(made)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("kind", ["plain", "listed", "declared"])
def test_the_rows_are_those_of_a_whole_data_set(kind, stored):
    tokenizer, given = tokenizer_of("qwen3"), samples(kind)
    lines = Lines(None)
    lines.add(given)
    made = training_rows(lines.samples() if stored else given, tokenizer)
    expected = whole(given, tokenizer)
    assert len(made) == 6
    assert [made[at] for at in range(6)] == [expected[at] for at in range(6)]
    places = [3, 3, 1, 1, 3]
    assert made.__getitems__(places) == expected.__getitems__(places)


def test_a_batch_that_is_asked_for_again_is_not_rendered_again(monkeypatch):
    """TRL asks for a generation's rows once a part of it."""
    rendered = []
    real = rows_module.render_prompts

    def render(given, tokenizer):
        rendered.extend(each.identity for each in given)
        return real(given, tokenizer)

    monkeypatch.setattr(rows_module, "render_prompts", render)
    made = training_rows(samples("plain"), tokenizer_of("qwen3"))
    first = made.__getitems__([0, 0, 2, 2])
    first[0]["prompt"][0]["content"] = "changed"
    first[0]["prompt_ids"].append(1)
    again = made.__getitems__([0, 0, 2, 2])
    assert rendered == ["0", "2"]
    assert first[1:] == again[1:] and again[0] == again[1], "rows are not shared"
    made.__getitems__([2, 4])
    assert rendered == ["0", "2", "4"]
