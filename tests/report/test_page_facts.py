"""What the page says of runs: failures and their reasons, benchmarks, seeds, cost, one response."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_pages import a_run

from toolrest.recipe import Recipe, dump_recipe
from toolrest.report.page_of_runs import rollouts
from toolrest.report.page_of_runs.benchmarks import benchmarks_of
from toolrest.report.page_of_runs.cost import command_of, cost_of, machine_of
from toolrest.report.page_of_runs.failures import MOST_FAILURES, failures_of
from toolrest.report.page_of_runs.reading import question_of
from toolrest.report.page_of_runs.reasons import reason_of
from toolrest.report.page_of_runs.rollouts import TokenTexts, rollout_groups
from toolrest.report.page_of_runs.seeds import differences, seed_groups
from toolrest.report.page_of_runs.series import held_out_series
from toolrest.report.page_of_runs.telling import telling_response
from toolrest.runs.folder import RunFolder


@pytest.mark.parametrize(
    ("reward", "more", "reason"),
    [
        ({"status": "bad_call"}, {}, "bad call"),
        ({"status": "bad_call"}, {"cut": True}, "bad call, but cut at the length limit"),
        ({"status": "ok", "format": 0.0}, {}, "wrong format"),
        ({"status": "ok", "format": 1.0, "over_called": True}, {}, "more calls than expected"),
        ({"status": "ok", "calls": {"names": 0.5, "values": 0.0}}, {}, "wrong tool"),
        ({"status": "ok", "calls": {"names": 1, "parameters": 0.5}}, {}, "wrong parameters"),
        ({"status": "ok", "calls": {"names": 1, "values": 0.0}}, {}, "wrong value"),
        ({"status": "ok"}, {}, "not as expected"),
        ({"status": "ok"}, {"check": "no call"}, "no call"),
        ({"status": "ok"}, {"check": "ok"}, "not as expected"),
    ],
)
def test_the_reason_of_a_failure_is_never_ok(reward, more, reason):
    assert reason_of(reward, **more) == reason


@given(st.dictionaries(st.text(), st.none() | st.text() | st.floats() | st.booleans()))
def test_every_recorded_reward_has_a_reason(reward):
    assert reason_of({"status": "ok"} | reward) not in ("", "ok")


def test_failures_are_counted_whole_and_shown_evenly(tmp_path):
    folder = tmp_path / "evaluation" / "apibank-1"
    folder.mkdir(parents=True)
    rows = [
        {"identity": f"i{n}", "check": f"c{n % 2}", "expected": "e", "got": {"text": "g"}}
        for n in range(1000)
    ]
    (folder / "failures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    [found] = failures_of(RunFolder(tmp_path), 1.0, [])
    assert found["reasons"] == {"c0": 500, "c1": 500}
    assert len(found["rows"]) == MOST_FAILURES
    assert [row["what"] for row in found["rows"][:3]] == ["i0", "i5", "i10"]
    [small] = failures_of(RunFolder(tmp_path), 0.01, [])
    assert len(small["rows"]) == 10 and small["reasons"] == found["reasons"]


def test_benchmarks_are_read_with_their_intervals_and_what_is_broken_is_named(tmp_path):
    def write(name, result):
        (tmp_path / "evaluation" / name).mkdir(parents=True)
        (tmp_path / "evaluation" / name / "result.json").write_text(json.dumps(result))

    part = {"n": 4, "accuracy": 0.5, "low": 0.2, "high": 0.8, "whole": False}
    settings = {"benchmark": "bfcl", "version": "v4", "steps": 8}
    mean = {"value": 0.4, "low": 0.3, "high": 0.5}
    write("b", {"settings": settings, "categories": {"x\u202e": part}, "means": {"live": mean}})
    both = {"categories": {"c": part, "d": part}, "all": part, "settings": {"steps": 0}}
    write("a", both | {"categories": {"c": part, "d": part}})
    write("broken", [])
    missing = []
    first, second = benchmarks_of(RunFolder(tmp_path), missing)
    assert missing == ["evaluation broken: no result can be read"]
    assert (first["name"], second["name"], second["benchmark"]) == ("a", "b", "bfcl v4")
    assert [row["label"] for row in first["rows"]] == ["c", "d", "all"]
    assert [row["label"] for row in second["rows"]] == ["x\\u202e", "mean: live"]
    assert second["rows"][0] | {"label": ""} == {
        **{"label": "", "n": 4, "value": 0.5, "low": 0.2, "high": 0.8},
        **{"tokens": None, "part": True},
    }


def run(name, seed=0, **more):
    return {"name": name, "recipe": {"name": name, "seed": seed, "a": {"b": 1}} | more}


def test_runs_that_differ_only_in_their_seed_form_a_group():
    runs = [
        run("x-seed0"),
        run("x-seed1", 1),
        run("y-seed0", a={"b": 2}),
        {"name": "z", "recipe": {}},
    ]
    assert seed_groups(runs) == [
        {"label": "x", "runs": [0, 1]},
        {"label": "y-seed0", "runs": [2]},
        {"label": "z", "runs": [3]},
    ]
    assert differences(runs) == [["a.b", ["1", "1", "2", "none"]]]


def test_groups_of_one_name_are_told_apart_by_what_they_differ_in():
    runs = [run("same"), run("same", a={"b": 2})]
    assert [group["label"] for group in seed_groups(runs)] == ["same, b=1", "same, b=2"]
    runs = [run("rest-seed0"), run("rest-seed1", 1), run("rest-seed0", a={"b": "x" * 99})]
    labels = [group["label"] for group in seed_groups(runs)]
    assert labels == ["rest, b=1", "rest-seed0, b=" + "x" * 20]
    nameless = [{"name": "r", "recipe": {}}, {"name": "r", "recipe": {}}]
    assert [group["label"] for group in seed_groups(nameless)] == ["r (1)", "r (2)"]


def response(weights, total, exact=False, format=1.0):
    reward = {"total": total, "format": format}
    return {"weights": weights, "tokens": ["t"] * len(weights), "reward": reward, "exact": exact}


def test_the_telling_response_is_wrong_beside_a_right_one_with_the_greatest_spread():
    early = {"step": 1, "rows": [response([0, 9], 1.0), response([1, 1], 4.0, True)]}
    rows = [
        response([1, 1], 4.0, True),
        response([0.5, 1.5], 1.0),
        response([0.1, 1.9], 2.0),
        response([0, 5], -3.0, format=0.0),
    ]
    found = telling_response([early, {"step": 2, "rows": rows}])
    assert (found["group"], found["row"]) == (1, 2)
    assert found["why"].startswith("of step 2, the greatest spread of weights")
    assert "wrong in a group that also has a right one" in found["why"]


def test_without_a_right_one_its_reward_lies_between_and_weights_may_be_equal():
    rows = [response([1, 1], 0.0), response([1, 1], 1.0), response([1, 1], 2.0)]
    found = telling_response([{"step": 3, "rows": rows}])
    assert found["row"] == 1 and "all tokens weigh the same" in found["why"]
    assert "between the least and the greatest" in found["why"]
    assert telling_response([]) is None
    without = {"reward": {"total": 1.0, "format": 1.0}, "exact": False, "text": "x"}
    assert telling_response([{"step": 1, "rows": [without]}]) is None


def test_the_cost_is_what_is_recorded(tmp_path):
    (tmp_path / "rollouts").mkdir()
    for step in (1, 2, 3):
        (tmp_path / "rollouts" / f"step-{step:06d}.jsonl").write_text("")
    rows = [
        {"step_time": 1.0},
        {"step_time": 5.0},
        {"step_time": 2.0, "seconds": 9, "num_tokens": 7},
    ]
    recipe = {"rollout": {"prompts_per_step": 4, "group_size": 8}}
    assert cost_of(RunFolder(tmp_path), recipe, {"seconds": 20.0}, rows) == {
        **{"seconds": 20.0, "training": 9, "step": 2.0, "tokens": 7, "responses": 96},
    }
    nothing = dict.fromkeys(("seconds", "training", "step", "tokens", "responses"))
    assert cost_of(RunFolder(tmp_path / "none"), {}, {}, []) == nothing


def test_the_machine_and_the_command():
    assert machine_of({"machine": {"device": "cpu", "gpus": [], "threads": 2}}) == "cpu, 2 threads"
    assert machine_of({"machine": {"gpus": ["H", "H"]}}) == "2 x H"
    assert machine_of({}) is None
    assert command_of({"command": ["/x/toolrest", "train", "a\u202e"]}) == "toolrest train a\\u202e"
    assert command_of({"command": "rm"}) is None


def test_the_held_out_curve_has_intervals_and_without_evaluations_on_the_way_two_points():
    sides = {"before": {"n": 8, "exact_match": 0.5}, "after": {"n": 8, "exact_match": 1.0}}
    found = held_out_series([], sides, 20)
    assert found["exact_match"] == [[0, 20], [0.5, 1.0]]
    # Wilson, n = 8, z = 1.96: the centre of 4 of 8 is a half, its ends 0.5 -+ 0.2848
    assert found["exact_match/low"][1][0] == pytest.approx(0.2152, abs=1e-4)
    assert found["exact_match/high"][1][0] == pytest.approx(0.7848, abs=1e-4)
    curve = [{"step": 4, "n": 8, "exact_match": 0.25}]
    assert held_out_series(curve, sides, 20)["exact_match"] == [[4], [0.25]]


def test_the_question_is_the_users_last_turn():
    assert question_of("[system] s\n[user] one\n[assistant] a\n[user] two\nlines") == "two\nlines"
    assert question_of("no turns") == "" and question_of(None) == ""


def test_responses_have_a_budget_of_characters_and_the_last_step_stays(tmp_path, monkeypatch):
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "recipe.yaml").write_text(dump_recipe(Recipe()))
    for step in range(16):
        row = {"step": step + 1, "steps_done": step, "identity": "a", "response": "x" * 1000}
        text = json.dumps(row) + "\n"
        (tmp_path / "rollouts" / f"step-{step + 1:06d}.jsonl").write_text(text)
    monkeypatch.setattr(rollouts, "MOST_SHOWN", 6000)
    found = RunFolder(tmp_path)
    made, sampled = rollout_groups(found, 1.0, TokenTexts(tmp_path, []), [])
    assert [group["step"] for group in made] == [1, 6, 11, 16]
    assert len(json.dumps(made)) <= 6000
    assert sampled.startswith("4 responses of 4 groups from 4 of 16 steps")


def test_a_token_s_own_advantage_is_kept_where_each_token_has_one(tmp_path):
    """Rollouts of before have none."""
    a_run(tmp_path, steps=1)
    file = tmp_path / "rollouts" / "step-000000.jsonl"
    first, *others = file.read_text().splitlines()
    advantages = [1.5, 1.5, 1.5, -0.5, -0.5]
    file.write_text(
        "\n".join([json.dumps(json.loads(first) | {"advantages": advantages}), *others])
    )
    made, _ = rollout_groups(RunFolder(tmp_path), 1e6, TokenTexts(tmp_path, []), [])
    rows = [row for group in made for row in group["rows"]]
    assert [row.get("advantages") for row in rows] == [advantages] + [None] * (len(rows) - 1)
