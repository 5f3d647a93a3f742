"""Signs of trouble in the metrics of episodes."""

import pytest

from toolrest.engines.common.signs import Signs
from toolrest.recipe import Recipe

FINE = {
    "episode/turns": 2.5,
    "episode/reward": 0.5,
    "episode/success": 0.4,
    "frac_reward_zero_std": 0.2,
    "ending/answered": 1.0,
    "ending/failed": 0.0,
    "ending/cut": 0.0,
    "entropy": 0.5,
    "completions/clipped_ratio": 0.0,
}


def warned(steps):
    signs = Signs(lambda metrics: (1.0, 0.0))
    return [each for step, metrics in enumerate(steps, 1) for each in signs.read(step, metrics)]


def names_keys(text):
    """Keys of a recipe that a text names, each of which is one."""
    words = [word.strip(",;()`").partition("=")[0] for word in text.split()]
    found = []
    for word in words:
        section, dot, key = word.partition(".")
        if dot and section in Recipe.model_fields and key:
            assert hasattr(getattr(Recipe(), section), key), word
            found.append(word)
    return found


def test_a_run_that_learns_gives_no_warning():
    assert warned([FINE] * 12) == []


def test_a_policy_that_earns_nothing_is_a_cold_start():
    cold = FINE | {"frac_reward_zero_std": 1.0, "episode/reward": 0.0, "episode/success": 0.0}
    [first, *_] = warned([cold])
    assert first.name == "cold_start" and "mean reward 0.00, 0% of the tasks" in first.text
    assert "Step.reward" in first.advice and "format" not in first.text


def test_where_success_is_not_known_equal_rewards_may_be_high_ones():
    """An environment need not say whether a task is done; its rewards are on any scale."""
    unknown = {name: value for name, value in FINE.items() if name != "episode/success"}
    [first, *_] = warned([unknown | {"frac_reward_zero_std": 1.0}])
    assert first.name == "cold_start" and "of the tasks" not in first.text
    assert "if rewards are low" in first.advice and "high, take harder tasks" in first.advice


def test_episodes_that_failed_are_no_cold_start():
    """They earn alike, since they earn nothing; what to do is another thing."""
    failed = FINE | {"frac_reward_zero_std": 1.0, "episode/success": 0.0, "ending/failed": 0.9}
    assert [each.name for each in warned([failed])] == ["failed_environments"]


def test_advice_names_what_a_recipe_with_an_environment_takes():
    """Neither a warm start of whole episodes, nor vLLM, which it refuses."""
    odd = FINE | {
        **{"frac_reward_zero_std": 1.0, "episode/success": 0.0, "episode/reward": 0.0},
        **{f"ending/{name}": 0.6 for name in ("cut", "turns", "budget", "broken")},
        "ending/failed": 0.3,
        "sampling/sampling_logp_difference/mean": 0.5,
    }
    collapsed = odd | {"entropy": 0.0001}
    found = warned([odd] * 6 + [collapsed] * 6)
    assert {each.name for each in found} == {
        *("cold_start", "equal_rewards", "failed_environments", "entropy_collapse"),
        *("sampler_mismatch", "ending_cut", "ending_turns", "ending_budget", "ending_broken"),
    }
    for each in found:
        names_keys(each.advice)
        assert "warm_start" not in each.advice and "vllm" not in each.advice.lower(), each


def test_a_policy_that_does_every_task_is_no_cold_start():
    done = FINE | {"frac_reward_zero_std": 1.0, "episode/reward": 1.0, "episode/success": 1.0}
    assert [each.name for each in warned([done] * 3)] == []
    [later] = warned([done] * 6)
    assert later.name == "equal_rewards" and "warm_start" not in later.advice


def test_failed_environments_are_said_at_once():
    [said] = warned([FINE | {"ending/failed": 0.25}] * 8)
    assert said.name == "failed_environments" and said.step == 1
    assert "25%" in said.text and "environment.call_timeout" in names_keys(said.advice)
    assert warned([FINE | {"ending/failed": 0.05}] * 8) == []


@pytest.mark.parametrize(
    ("ending", "key"),
    [
        ("cut", "rollout.max_response_tokens"),
        ("turns", "environment.max_turns"),
        ("budget", "environment.max_trajectory_tokens"),
    ],
)
def test_many_endings_at_a_limit_name_the_key_that_mends_it(ending, key):
    [said] = warned([FINE | {f"ending/{ending}": 0.6}] * 8)
    assert said.name == f"ending_{ending}" and said.step == 5
    assert key in names_keys(said.advice)
    assert warned([FINE | {f"ending/{ending}": 0.3}] * 8) == []


def test_calls_that_cannot_be_read_are_said():
    assert [each.name for each in warned([FINE | {"ending/broken": 0.9}] * 5)] == ["ending_broken"]


def test_signs_of_rule_rewards_and_of_single_responses_are_not_given():
    """Format, correctness and the length limit of one response say nothing of an episode."""
    odd = FINE | {"reward/format": 1.0, "completions/clipped_ratio": 1.0}
    falling = [odd | {"reward/correctness": value} for value in [0.9] * 6 + [0.1] * 6]
    assert warned(falling) == []


def test_a_step_on_episodes_of_an_earlier_one_is_read_as_of_episodes():
    odd = FINE | {"completions/clipped_ratio": 1.0}
    assert warned([odd, {"entropy": 0.5}] * 8) == []
