"""pass^k and the figures of tasks that were tried several times."""

from itertools import combinations, product
from statistics import mean

import pytest

from toolrest.environments.base import Ending
from toolrest.evaluate.trials import pass_power, pass_powers, task_figures
from toolrest.rollout.turns import Trajectory, Turn


def episode(done, reward=0.5, turns=2, failure=None):
    made = Trajectory([1], turns=[Turn("a", reward=reward)] * turns, ending=Ending.ANSWERED)
    made.success, made.failure = done, failure
    return made


@pytest.mark.parametrize("trials", [1, 2, 3, 5])
def test_the_estimate_is_the_share_of_subsets_in_which_all_are_done(trials):
    for done, k in product(range(trials + 1), range(1, trials + 1)):
        outcomes = [1] * done + [0] * (trials - done)
        assert pass_power(done, trials, k) == pytest.approx(
            mean(all(chosen) for chosen in combinations(outcomes, k))
        )


def test_fewer_trials_than_k_have_no_estimate():
    with pytest.raises(ValueError, match="2 trials are fewer than k=3"):
        pass_power(2, 2, 3)


def test_failed_episodes_count_for_nothing_and_take_a_task_out_of_greater_k():
    failed = episode(None, failure="it hung")
    tasks = [[episode(True), episode(True)], [episode(True), failed], [failed, failed]]
    found = pass_powers(tasks)
    assert {k: (row["value"], row["tasks"]) for k, row in found.items()} == {
        "1": (1.0, 2),
        "2": (1.0, 1),
    }
    figures = task_figures(tasks)
    assert (figures["n"], figures["episodes"], figures["accuracy"]) == (2, 3, 1.0)
    assert figures["endings"] == {"answered": 6}


def test_intervals_are_over_tasks_and_not_over_trials():
    """Trials that say the same again make no interval narrower."""
    once = [[episode(n < 3)] for n in range(8)]
    again = [[episode(n < 3)] * 20 for n in range(8)]
    for key in ("low", "high", "accuracy"):
        assert task_figures(once)[key] == task_figures(again)[key]
    assert task_figures(again)["low"] < 3 / 8 < task_figures(again)["high"]
    for row in pass_powers(again).values():
        assert row["low"] == pytest.approx(task_figures(once)["low"])


def test_a_task_without_a_word_on_success_is_done_by_a_reward_above_0():
    tasks = [[episode(None, reward=0.5)], [episode(None, reward=-0.5)]]
    assert task_figures(tasks)["accuracy"] == 0.5
