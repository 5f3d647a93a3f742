"""Each sign of trouble is provoked by hand, said once, and silent on the healthy default run."""

import json
from pathlib import Path

import pytest

from toolrest.engines.common.monitor import Monitor
from toolrest.engines.common.reward import ToolReward, reward_parts
from toolrest.engines.common.signs import Signs
from toolrest.recipe import Recipe, load_recipe
from toolrest.runs.folder import RunFolder

TRUTH = '<think> a </think>\n<tool_call>\n{"name": "f", "parameters": {}}\n</tool_call>'
HEALTHY = {
    "frac_reward_zero_std": 0.3,
    "entropy": 0.5,
    "completions/clipped_ratio": 0.01,
    "sampling/sampling_logp_difference/mean": 0.002,
    "scores": (0.9, 0.6),
}


def names(*changes, steps=12):
    """The warnings' names and steps, of metrics that change from the healthy ones with time."""
    signs = Signs(scores=lambda metrics: metrics["scores"])
    found = []
    for step in range(1, steps + 1):
        metrics = HEALTHY | {key: at(step) for key, at in changes}
        found += [(w.name, w.step) for w in signs.read(step, metrics)]
    return found


@pytest.mark.parametrize(
    ("shares", "scores", "expected"),
    [
        ((1.0,), (0.0, 0.0), [("cold_start", 1)]),
        ((1.0,), (1.0, 0.3), [("cold_start", 1)]),
        ((0.95,), (0.02, 0.01), [("cold_start", 1)]),
        ((0.8, 1.0), (0.0, 0.0), [("cold_start", 2)]),
        ((0.5, 1.0, 1.0), (0.0, 0.0), []),
        ((0.25, 0.0, 0.0, 1.0), (0.0, 0.0), []),
        ((1.0, 1.0), (1.0, 1.0), []),
        ((0.85,), (0.0, 0.0), []),
    ],
)
def test_a_policy_that_begins_without_a_signal_is_said_at_once(shares, scores, expected):
    """The mean share of equal groups in the first three generations, where responses are wrong."""
    signs = Signs(scores=lambda metrics: metrics["scores"])
    found = [
        warned
        for step, share in enumerate(shares, 1)
        for warned in signs.read(step, {"frac_reward_zero_std": share, "scores": scores})
    ]
    assert [(warned.name, warned.step) for warned in found] == expected
    assert all("warm_start.method=rsft" in str(warned) for warned in found)


def test_steps_on_old_responses_are_no_new_sign_of_a_cold_start():
    signs = Signs()
    assert [w.name for w in signs.read(1, {"frac_reward_zero_std": 1.0})] == ["cold_start"]
    again = Signs()
    again.read(1, {"frac_reward_zero_std": 0.2})
    assert again.read(2, {"entropy": 0.5}) == []


def test_healthy_metrics_say_nothing():
    assert names() == []


@pytest.mark.parametrize(
    ("metric", "at", "expected"),
    [
        ("frac_reward_zero_std", lambda step: 0.95, ("equal_rewards", 5)),
        ("completions/clipped_ratio", lambda step: 1.0, ("truncated", 5)),
        ("sampling/sampling_logp_difference/mean", lambda step: 0.2, ("sampler_mismatch", 5)),
        ("entropy", lambda step: 0.5 if step <= 6 else 0.001, ("entropy_collapse", 11)),
        (
            "scores",
            lambda step: (1.0, 0.6) if step <= 5 else (1.0, 0.4),
            ("reward_hacking", 8),
        ),
    ],
)
def test_each_sign_is_said_once(metric, at, expected):
    assert names((metric, at), steps=20) == [expected]


@pytest.mark.parametrize(
    ("metric", "at"),
    [
        ("frac_reward_zero_std", lambda step: 1.0 if step == 3 else 0.2),
        ("completions/clipped_ratio", lambda step: 1.0 if step < 4 else 0.0),
        ("ending/failed", lambda step: 0.1),
        ("ending/failed", lambda step: None),
        ("entropy", lambda step: 0.5 / step),
        ("scores", lambda step: (0.5, 0.6 - 0.02 * step)),
        ("scores", lambda step: (1.0, 0.6 - 0.005 * step)),
        ("frac_reward_zero_std", lambda step: float("nan")),
        ("entropy", lambda step: None),
    ],
)
def test_what_passes_or_is_not_measured_is_not_said(metric, at):
    assert names((metric, at)) == []


def test_warnings_tell_the_number_and_what_to_try():
    signs = Signs()
    warned = [w for step in range(5) for w in signs.read(step, {"completions/clipped_ratio": 0.97})]
    assert "97% of the responses" in warned[0].text
    assert "rollout.max_response_tokens" in warned[0].advice


def test_dropped_prompts_are_said_from_a_tenth_of_the_rows_on():
    assert Signs().dropped(10, 100) == []
    assert Signs().dropped(0, 0) == []
    signs = Signs()
    (warned,) = signs.dropped(11, 100)
    assert "11 of 100 rows (11%)" in warned.text
    assert signs.dropped(11, 100) == []


def watched(folder, recipe=None):
    said = []
    return Monitor(recipe or Recipe(), RunFolder(folder), said.append), said


def test_the_default_run_says_nothing(tmp_path):
    """25 steps of `toolrest train`, as its metrics.jsonl has them."""
    rows = (Path(__file__).parent / "default_run.jsonl").read_text().splitlines()
    assert len(rows) == 25
    watch, said = watched(tmp_path)
    for row in map(json.loads, rows):
        watch.read(row["step"], row)
    assert said == []


def test_a_resumed_run_says_nothing_twice_and_remembers_what_it_saw(tmp_path):
    run = RunFolder(tmp_path)
    rows = [{"step": step, "completions/clipped_ratio": 1.0} for step in range(1, 9)]
    watch, said = watched(tmp_path)
    for row in rows[:4]:
        watch.read(row["step"], row)
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows[:4]))
    assert said == []
    watch, said = watched(tmp_path)
    watch.read(5, rows[4])
    assert len(said) == 1
    assert json.loads(run.warnings.read_text())["name"] == "truncated"
    watch, said = watched(tmp_path)
    for row in rows[4:]:
        watch.read(row["step"], row)
    assert said == []


def test_warnings_can_be_switched_off(tmp_path):
    watch, said = watched(tmp_path, load_recipe(None, ["guards.warn=false"]))
    for step in range(8):
        watch.read(step, {"completions/clipped_ratio": 1.0})
    assert said == []
    assert not RunFolder(tmp_path).warnings.exists()


@pytest.mark.parametrize("schedule", ["constant", "rest", "official", "binary"])
def test_a_run_begins_cold_by_the_metrics_that_its_rewards_write(tmp_path, schedule):
    """By the names and values of `ToolReward`, whatever range the schedule maps them onto."""
    recipe = load_recipe(None, [f"reward.schedule={schedule}"])
    said = {}
    for text in ("no call at all", TRUTH):
        folder = tmp_path / str(len(said))
        folder.mkdir()
        watch, said[text] = watched(folder, recipe)
        parts = reward_parts([ToolReward("rlla", schedule).score(text, TRUTH)] * 8)
        means = {name: sum(values) / len(values) for name, values in parts.items()}
        watch.read(1, means | {"step": 1, "frac_reward_zero_std": 1.0})
    (cold,) = said["no call at all"]
    assert cold.startswith("warning, step 1: 100% of the groups have equal rewards (format 0.00")
    assert said[TRUTH] == [], "all are right"


def test_replies_that_only_look_right_are_said_by_the_metrics_of_a_run(tmp_path):
    """Format scores of 1, correctness from 0.8 to 0.5: no range of rewards is taken for them."""
    watch, said = watched(tmp_path)
    for step in range(1, 15):
        right = 0.8 if step <= 6 else 0.5
        watch.read(step, {"step": step, "reward/format": 1.0, "reward/correctness": right})
    assert len(said) == 1 and "from 0.80 to" in said[0]


def test_what_is_no_number_is_no_score(tmp_path):
    watch, said = watched(tmp_path)
    for odd in (None, "x", float("nan")):
        watch.read(1, {"step": 1, "reward/format": odd, "reward/correctness": 0.0})
    assert said == []
