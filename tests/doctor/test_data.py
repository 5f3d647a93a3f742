import json
from dataclasses import replace

import pytest

from toolrest.doctor import data
from toolrest.doctor.check import Status
from toolrest.estimate.settings import Lengths
from toolrest.recipe import Recipe

TRUTH = '<think> </think>\n<tool_call>\n{"name": "f", "parameters": {}}\n</tool_call>'


@pytest.fixture
def rows(tmp_path):
    """Writes rows of RLLA's layout and gives the recipe that reads them."""

    def write(count, *odd, **values):
        prompt = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
        row = {"prompt": prompt, "reward_model": {"ground_truth": TRUTH}}
        lines = [json.dumps(row)] * count + [*odd]
        file = tmp_path / "rows.jsonl"
        file.write_text("\n".join(lines))
        return Recipe(data={"path": str(file)}, **values)

    return write


def test_rows_that_can_be_read(rows):
    samples, (check,) = data.check_rows(rows(100))
    assert (len(samples), check.status) == (64, Status.OK)


def test_the_embedded_tasks_need_no_file():
    samples, (check,) = data.check_rows(Recipe())
    assert (len(samples), check.status) == (64, Status.OK)


def test_a_bad_row_is_named(rows):
    _, (check,) = data.check_rows(rows(20, "{torn"))
    assert check.status is Status.PROBLEM and "row 20: not JSON" in check.found
    assert "toolrest data check" in check.mend


def test_too_few_rows(rows):
    _, checks = data.check_rows(rows(10))
    assert checks[-1].status is Status.PROBLEM and checks[-1].found.startswith("9 samples")
    _, checks = data.check_rows(rows(10, rollout={"prompts_per_step": 8}))
    assert [check.status for check in checks] == [Status.OK]


def test_a_file_that_is_not_there_and_one_of_no_known_format(tmp_path):
    _, (check,) = data.check_rows(Recipe(data={"path": "nowhere.parquet"}))
    assert check.status is Status.PROBLEM and "no such file" in check.found
    strange = tmp_path / "strange.jsonl"
    strange.write_text('{"a": 1}\n')
    _, (check,) = data.check_rows(Recipe(data={"path": str(strange)}))
    assert check.status is Status.PROBLEM and "none of the formats" in check.found


def test_a_data_set_on_a_hub_that_cannot_be_reached(monkeypatch):
    monkeypatch.setattr("toolrest.doctor.preflight.why_unreachable", lambda: "there is no network")
    _, (check,) = data.check_rows(Recipe(data={"path": "Team-ACE/ToolACE"}))
    assert check.status is Status.PROBLEM and "there is no network" in check.found


@pytest.mark.parametrize(
    ("most", "status", "words"),
    [
        (40, Status.OK, "20 tokens in the middle, 40 at most, of 3 prompts"),
        (30, Status.WARNING, "1 of 3 are longer than data.max_prompt_tokens=30"),
        (5, Status.PROBLEM, "3 of 3 are longer"),
    ],
)
def test_prompts_that_are_too_long(most, status, words):
    (check,) = data.check_lengths(Recipe(data={"max_prompt_tokens": most}), [20, 40, 10])
    assert check.status is status and words in check.found
    assert ("data.max_prompt_tokens=40 would keep" in check.mend) == (most < 40)


def test_lengths_are_those_of_rendered_prompts(rows, embedded_tokenizer):
    samples, _ = data.check_rows(rows(64))
    lengths, refused = data.prompt_lengths(samples, embedded_tokenizer)
    assert len(lengths) == 64 and len(set(lengths)) == 1 and not refused


def test_prompts_that_the_template_refuses_are_counted(rows, embedded_tokenizer, monkeypatch):
    samples, _ = data.check_rows(rows(3))
    odd = replace(samples[1], prompt=({"role": "pilot", "content": "x"},))
    template = (
        "{% for m in messages %}{% if m.role == 'pilot' %}{{ raise_exception('no pilots') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    monkeypatch.setattr(embedded_tokenizer, "chat_template", template)
    lengths, (check,) = data.prompt_lengths([samples[0], odd], embedded_tokenizer)
    assert len(lengths) == 1
    assert check.status is Status.WARNING
    assert f"1 of 2 are refused; row {odd.identity}: " in check.found and "no pilots" in check.found
    lengths, (check,) = data.prompt_lengths([odd], embedded_tokenizer)
    assert not lengths and check.status is Status.PROBLEM


@pytest.mark.parametrize(
    ("most", "status"), [(192, Status.WARNING), (385, Status.WARNING), (396, Status.OK)]
)
def test_demonstrations_are_compared_with_the_longest_response(most, status):
    """Of 301 to 400 tokens: over 395 are 5 of 100, which may be cut off."""
    recipe = Recipe(rollout={"max_response_tokens": most})
    lengths = Lengths((10,) * 100, tuple(range(301, 401)))
    (check,) = data.check_replies(recipe, lengths)
    assert check.status is status and f"rollout.max_response_tokens={most}" in check.found
    if status is Status.WARNING:
        assert check.mend == "rollout.max_response_tokens=512"  # 1.25 x 399
    assert data.check_replies(recipe, Lengths()) == []
