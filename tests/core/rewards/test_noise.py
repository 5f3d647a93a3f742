"""Label noise: by hand, and which responses it flips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.rewards.noise import flipped, noisy_totals
from toolrest.core.rewards.schedule import get_schedule
from toolrest.engines.common.reward import ToolReward

RIGHT = '<think>t</think>\n<tool_call>\n{"name": "f", "parameters": {"a": 1}}\n</tool_call>'
WRONG = RIGHT.replace('"f"', '"g"')


def test_a_flipped_response_has_the_correctness_of_the_opposite():
    reward = ToolReward(schedule="constant")
    found = [reward.score(text, RIGHT) for text in (RIGHT, WRONG, RIGHT, "nothing")]
    assert [each.total for each in found] == [4.0, -2.0, 4.0, -3.0]
    schedule = reward.rules.schedule
    assert noisy_totals(found, [True, True, False, True], schedule, 0.0) == [-2.0, 4.0, 4.0, 3.0]


@given(st.floats(0, 1), st.sampled_from(["rest", "constant", "official"]))
def test_twice_flipped_is_as_it_was_at_any_time(progress, name):
    reward = ToolReward(schedule=name)
    found = [reward.score(text, RIGHT, progress) for text in (RIGHT, WRONG)]
    right, wrong = noisy_totals(found, [True, True], get_schedule(name), progress)
    assert [right, wrong] == pytest.approx(
        [
            found[0].format_reward + get_schedule(name).rewards(0.0, 0.0, progress)[1],
            found[1].format_reward
            + get_schedule(name).rewards(0.0, 1.0 - found[1].correctness, progress)[1],
        ]
    )


def test_processes_draw_as_one_does_and_every_step_anew():
    one = flipped(7, (3, 0), slice(0, 64), 0.2)
    parts = [flipped(7, (3, 0), slice(at, at + 16), 0.2) for at in (0, 16, 32, 48)]
    assert (np.concatenate(parts) == one).all()
    assert (flipped(7, (4, 0), slice(0, 64), 0.2) != one).any()
    assert (flipped(8, (3, 0), slice(0, 64), 0.2) != one).any()
    assert (flipped(7, (3, 1), slice(0, 64), 0.2) != one).any()
    assert (
        not flipped(7, (3, 0), slice(0, 64), 0.0).any()
        and flipped(7, (3, 0), slice(0, 64), 1.0).all()
    )
    share = flipped(0, (0, 0), slice(0, 100_000), 0.2).mean()
    assert 0.195 < share < 0.205
