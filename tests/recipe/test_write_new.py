"""The text of a new recipe: what it says is what is read back."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toolrest.io.plain_yaml import plain_values
from toolrest.recipe import Recipe, changed, recipe_of_text
from toolrest.recipe.write_new import Answers, command_word, scalar, write_new

NAMES = st.one_of(
    st.text(min_size=1),
    st.text("ab'\"#: \\/{}[]&*!|>%@`,?-~\t\n\r\u0085\u2028\ufeff\ud800é名😀", min_size=1),
    st.from_regex(r"[-+0-9.eExonyOtrufalsl_~:]{1,8}", fullmatch=True),
)


@given(NAMES, NAMES, NAMES)
@example("it's #1: a.jsonl", 'C:\\data\\"x y".jsonl', "- a.yaml")
@example("null", "1e-6", "010")
@example("on", "0x10", "1:30")
@example("2001-01-01", "=", "<<")
@example("a\nmax_steps: 7", "b # c", "c\nname: d")
def test_any_name_is_read_back_as_it_is(policy, data, file):
    text = write_new(Answers(policy=policy, data=data), file)
    values = plain_values(text, "x")
    assert (values["policy"], values["data"]["path"]) == (policy, data)
    assert values.keys() <= Recipe.model_fields.keys() and "name" not in values


@given(NAMES)
def test_a_value_is_one_line_and_a_word_of_a_command_too(text):
    for line in (scalar(text), command_word(text)):
        assert line and not re.search("[\n\r\u0085\u2028\u2029]", line)


@pytest.mark.parametrize("value", [True, False, None, 7, 0.1, "a/b-c_1.jsonl"])
def test_plain_values_stay_plain(value):
    assert scalar(value)[:1] not in ("'", '"')
    assert plain_values(scalar(value), "x") == value


def test_without_answers_it_is_the_embedded_default():
    assert recipe_of_text(write_new(Answers(), "r.yaml"), "x") == Recipe()


@pytest.mark.parametrize("method", ["rl", "sft", "warm"])
@pytest.mark.parametrize("processes", range(1, 18))
def test_any_number_of_processes_divides_what_a_step_has(method, processes):
    answers = Answers(
        policy="owner/name",
        data="owner/rows",
        method="sft" if method == "sft" else "rl",
        warm_start=method == "warm",
        processes=processes,
    )
    recipe = recipe_of_text(write_new(answers, "r.yaml"), "x")
    assert recipe.engine.processes == processes
    assert recipe.responses_per_update % processes == 0
    assert recipe.rollout.prompts_per_step >= Recipe().rollout.prompts_per_step
    if method != "rl":
        assert recipe.warm_start.batch_size % processes == 0


def test_what_memory_asks_for_is_said():
    answers = Answers(
        policy="owner/name", processes=2, checkpointing=True, lora_rank=16, sharded=True
    )
    recipe = recipe_of_text(write_new(answers, "r.yaml"), "x")
    wanted = {"optimizer.gradient_checkpointing": True, "lora.rank": 16, "engine.sharding": "fsdp"}
    assert recipe == changed(recipe, wanted)


@pytest.mark.parametrize(
    "answers",
    [
        Answers(),
        Answers(
            "a b", "c: d", "rl", True, 3, "n", "auto", "as it writes", True, True, 16, sharded=True
        ),
        Answers("a", "c.jsonl", "sft", dialect="hermes", dialect_why="named", think=False),
    ],
)
def test_every_key_has_a_comment(answers):
    for line in write_new(answers, "r.yaml").splitlines():
        assert line.startswith("#") or line.endswith(":") or re.search(r"  # \w", line), line
        assert len(line) <= 100
