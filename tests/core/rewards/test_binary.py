"""Tool-N1's reward: 1 where format and calls are right, else 0."""

import pytest

from toolrest.core.rewards import get_schedule
from toolrest.core.rewards.noise import noisy_totals
from toolrest.engines.common.reward import PARTS, ToolReward
from toolrest.engines.verl.scoring import scheduled_scores
from toolrest.experiments.methods import check_methods, read_methods
from toolrest.recipe import Recipe

CALL = '{"name": "a", "parameters": {"x": 1, "y": "z"}}'
TRUTH = f"<think> t </think>\n<tool_call>\n{CALL}\n</tool_call>"
WORDS = "<think> t </think>\n<response> No tool fits. </response>"


def reward():
    return ToolReward(schedule="binary", correctness="exact")


@pytest.mark.parametrize(
    ("text", "truth", "expected"),
    [
        (TRUTH, TRUTH, 1.0),
        (TRUTH.replace('"x": 1, "y": "z"', '"y": "z", "x": 1'), TRUTH, 1.0),  # as a dictionary
        (TRUTH.replace("z", "w"), TRUTH, 0.0),
        (TRUTH.replace(', "y": "z"', ""), TRUTH, 0.0),
        (TRUTH.replace(CALL, CALL + "\n" + CALL), TRUTH, 0.0),
        (TRUTH.replace("<think> t </think>\n", ""), TRUTH, 0.0),  # right calls without a thought
        (TRUTH.replace("</tool_call>", ""), TRUTH, 0.0),
        ("words " + TRUTH, TRUTH, 0.0),
        (WORDS, WORDS, 1.0),
        (TRUTH, WORDS, 0.0),
        (WORDS, TRUTH, 0.0),
    ],
)
def test_it_is_one_or_nothing(text, truth, expected):
    found = reward().score(text, truth, 0.3)
    assert found.total == expected == float(found.exact)
    assert found.format_reward == 0


def test_parts_of_the_correctness_count_where_the_format_is_right():
    """Of name, keys and two values one value is wrong: 3 of 1 + 1 + 2."""
    partly = ToolReward(schedule="binary").score(TRUTH.replace("z", "w"), TRUTH)
    assert partly.total == pytest.approx(3 / 4)
    schedule = get_schedule("binary")
    assert schedule.rewards(0.0, 0.75, 0.5) == (0.0, 0.0)
    assert schedule.rewards(1.0, 0.75, 0.5) == (0.0, 0.75)


def test_a_flipped_label_is_the_other_of_the_two_where_the_format_is_right():
    texts = (TRUTH, TRUTH.replace("z", "w"), "<think> t </think>")
    found = [reward().score(text, TRUTH) for text in texts]
    schedule = get_schedule("binary")
    assert noisy_totals(found, [False] * 3, schedule, 0.0) == [1, 0, 0]
    assert noisy_totals(found, [True] * 3, schedule, 0.0) == [0, 1, 0]


def test_the_method_is_grpo_by_that_reward():
    found = check_methods(Recipe(), read_methods("grpo,tool_n1"))
    plain, made = (found[name].model_dump() for name in ("grpo", "tool_n1"))
    plain["reward"] |= {"schedule": "binary", "correctness": {"exact": 1.0}}
    assert made == plain


def test_verl_s_rows_earn_the_same_by_their_parts():
    found = [reward().score(text, TRUTH) for text in (TRUTH, TRUTH.replace("z", "w"), WORDS)]
    parts = [
        {name: part(each) for name, part in PARTS.items()} | {"correctness_counts": True}
        for each in found
    ]
    extra = [{"reward_extra_info": part} for part in parts]
    scored = scheduled_scores(extra, [False] * 3, get_schedule("binary"), 0.5)
    assert scored is not None and scored.rewards.tolist() == [1, 0, 0]
