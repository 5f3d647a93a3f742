"""Episodes on the page of a run, in the live view, and in the line of a step."""

import io
import json
import shutil

import pytest
from rich.console import Console

from toolrest.environments.base import Ending
from toolrest.recipe import dump_recipe, load_recipe
from toolrest.report.conversation import read_conversation
from toolrest.report.endings import ENDINGS
from toolrest.report.live import LiveView, best_and_worst, describe_step
from toolrest.report.page_of_runs.collect import collect
from toolrest.report.page_of_runs.write import report_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "<script>bad()</script><img src=x onerror=bad()>\u202eevil\x07"
METRICS = {
    "reward": 0.54,
    "episode/reward": 0.54,
    "episode/success": 0.41,
    "episode/turns": 2.7,
    "episode/calls": 1.7,
    "episode/errors": 0.08,
    "turn_reward/first": 0.3,
    "turn_reward/last": 0.2,
    "ending/answered": 0.9,
    "ending/budget": 0.1,
    "ending/failed": 0.0,
    "entropy/format": 0.1,
    "weight/format": 1.2,
}


def turn(text, reward, calls=(), results=(), errors=0, said=None):
    called = [{"name": name, "parameters": given} for name, given in calls]
    return {
        "text": text,
        "calls": called,
        "results": [list(pair) for pair in results],
        "errors": errors,
        "reward": reward,
        "said": said,
    }


def a_row(success=True, failure=None, ending="answered", **more):
    """An episode of two turns; the first makes two calls and reads results."""
    turns = [
        turn(
            "<think>a</think>call",
            0.25,
            [("find", {"name": HOSTILE}), ("take", {})],
            [("find", HOSTILE), ("take", "taken")],
            errors=1,
        ),
        turn("the answer", 0.5, said="and now?"),
    ]
    episode = {
        "turns": turns,
        "ending": ending,
        "reward": None if failure else 0.75,
        "success": success,
        "failure": failure,
        "ids": [1, 2, 3, 9, 9, 4],
        "sampled": [1, 1, 1, 0, 0, 1],
    }
    row = {"step": 1, "steps_done": 0, "identity": "i", "ground_truth": "", "advantage": 0.5}
    row |= {"response": "the text", "reward": {"total": episode["reward"]}, "ids": [1, 2, 3, 4]}
    row |= {"tokens": ["<think>", "a", "</think>", HOSTILE], "weights": [2.0, 0.5, 1.5, 1.0]}
    row |= {"regions": ["format", "reasoning", "format", "response"], "episode": episode}
    return row | {"prompt": "[user] find it"} | more


def a_run(folder, rows):
    (folder / "rollouts").mkdir(parents=True)
    (folder / "evaluation").mkdir()
    (folder / "recipe.yaml").write_text(
        dump_recipe(load_recipe(None, ["environment.source=world"]))
    )
    results = {"n": 8, "exact_match": 0.5, "greedy_exact_match": 0.75, "reward": 0.5}
    results |= {"greedy_reward": 0.6, "turns": 2.5, "greedy_turns": 2.25, "failed": 0}
    (folder / "summary.json").write_text(json.dumps({"before": results, "after": results}))
    lines = [json.dumps({"step": step} | METRICS) + "\n" for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(lines))
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rollouts" / "step-000001.jsonl").write_text(text)
    held_out = [
        {"identity": f"h{n}", "decoding": "greedy"} | a_row(success)["episode"]
        for n, success in enumerate((True, False))
    ]
    (folder / "evaluation" / "after.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in held_out)
    )
    return folder


def test_a_conversation_has_each_turns_own_tokens_calls_and_results():
    found = read_conversation(a_row())
    assert [[token.weight for token in each.tokens] for each in found.turns] == [
        [2.0, 0.5, 1.5],
        [1.0],
    ]
    first, second = found.turns
    assert [(call.name, call.result) for call in first.called] == [
        ("find", HOSTILE),
        ("take", "taken"),
    ]
    assert (first.errors, first.reward, second.said) == (1, 0.25, "and now?")
    assert found.outcome == "reward 0.75; the task was done; answered, and nothing more was asked"


def test_a_call_without_a_result_and_a_turn_without_a_token_are_shown_as_such():
    row = a_row()
    row["episode"]["turns"][0]["results"] = [["find", "x"]]
    row["episode"]["turns"].append(turn("", 0.0))
    found = read_conversation(row)
    assert [call.result for call in found.turns[0].called] == ["x", None]
    assert found.turns[2].tokens == []


def test_a_failed_environment_is_told_with_its_reason():
    found = read_conversation(a_row(success=None, failure="call hung", ending="failed"))
    assert found.outcome == "no reward; the environment failed: call hung"


def test_every_ending_has_its_words():
    assert set(ENDINGS) == set(Ending)
    assert len(set(ENDINGS.values())) == len(ENDINGS)


def test_the_figures_and_failures_are_of_tasks(tmp_path):
    found = collect(a_run(tmp_path / "r", [a_row()]))
    labels = [row["label"] for row in found["table"]]
    assert labels[:2] == ["tasks done, sampled", "tasks done, greedy"]
    assert labels[-2:] == ["turns, sampled", "turns, greedy"]
    [evaluation] = found["failures"]
    [failure] = evaluation["rows"]
    assert (evaluation["name"], failure["what"]) == ("held-out, greedy", "h1")
    assert evaluation["reasons"] == {failure["reason"]: 1} and failure["reason"] != "ok"
    assert "the task was not done" in failure["detail"] and "take: taken" in failure["got"]
    assert "reward.schedule" not in found["sampled"] and "1 episodes" in found["sampled"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The page in a browser, and everything that it should not have done."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    folder = tmp_path_factory.mktemp("runs")
    rows = [a_row(), a_row(False), a_row(None, failure=HOSTILE, ending="failed", identity="j")]
    file = folder / "r.html"
    file.write_text(report_page([a_run(folder / "one", rows)]), encoding="utf-8")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.trouble = []
        page.on("console", lambda message: page.trouble.append(message.text))
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.goto(file.as_uri())
        yield page
        assert page.trouble == []
        browser.close()


def test_the_rollouts_are_conversations(opened):
    opened.click("#tab-rollouts")
    first = opened.locator("#view-rollouts article").first
    weights = [
        box.locator(".token").evaluate_all("all => all.map(t => Number(t.dataset.weight))")
        for box in first.locator(".tokens").all()
    ]
    assert weights == [[2.0, 0.5, 1.5], [1.0]]
    heads = first.locator(".turn").all_text_contents()
    assert heads == ["Turn 1: reward 0.25, 1 of its calls failed", "Turn 2: reward 0.50"]
    read = first.locator(".exchange .read").all_text_contents()
    assert read[0].startswith("<script>bad()</script>") and "\u202e" not in read[0]
    assert read[1] == "taken"
    sides = first.locator(".exchange").first.locator("> *")
    assert sides.nth(0).bounding_box()["y"] <= sides.nth(1).bounding_box()["y"]
    assert "The user: and now?" in first.text_content()
    assert "the task was done" in first.text_content()
    assert opened.evaluate("document.querySelectorAll('img').length") == 0
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


def test_groups_are_chosen_by_what_episodes_have(opened):
    opened.click("#tab-rollouts")
    shown = opened.locator("select[aria-label=show]")
    assert shown.locator("option").evaluate_all("all => all.map(o => o.value)") == [
        *("all", "undone", "error", "failed", "equal")
    ]
    shown.select_option("failed")
    assert opened.locator("select[aria-label=group] option").count() == 1
    assert "the environment failed" in opened.locator("#view-rollouts article").first.text_content()
    opened.locator("select[aria-label=show]").select_option("all")


def test_curves_tell_turns_endings_and_rewards_of_turns(opened):
    opened.click("#tab-curves")
    drawn = {
        each.locator("figcaption").text_content(): each.locator(".key").text_content()
        for each in opened.locator("#view-curves figure:has(.key)").all()
    }
    assert drawn["Turns, calls and errors of an episode"] == (
        "turns (2.70)calls (1.70)errors (0.080)"
    )
    assert drawn["Reward of a turn"] == "first (0.300)last (0.200)"
    assert drawn["How episodes end"] == "answered (0.900)budget (0.100)"
    assert "Reward by part" not in drawn and "Tasks done, sampled" in drawn


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    opened.emulate_media(color_scheme=scheme)
    for view in ("summary", "curves", "rollouts", "failures"):
        opened.click(f"#tab-{view}")
        found = axe.run(opened, options={"runOnly": ["wcag2a", "wcag2aa"]})
        assert found.violations_count == 0, found.generate_report()


def test_the_line_of_a_step():
    assert describe_step(METRICS) == (
        "reward 0.54  done 41%  turns 2.7  errors 0.08  entropy:  format 0.10"
    )
    assert "failed 25%" in describe_step(METRICS | {"ending/failed": 0.25})
    single = {"reward": 1.0, "reward/exact_match": 0.5, "collision/format": 0.2}
    assert describe_step(single) == "reward 1.00  exact 0.50  collision:  format 0.20"


def test_the_board_has_rows_of_episodes():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with LiveView(console=console) as view:
        view.stage("training", 2)
        view.step(1, METRICS)
        view.step(2, METRICS)
    shown = console.file.getvalue()
    for label in ("tasks done", "turns", "errors"):
        assert label in shown
    assert "exact match" not in shown and "failed" not in shown


def test_the_best_and_the_worst_episode_leave_failed_ones_out(tmp_path):
    rows = [a_row(), a_row(None, failure="it hung", ending="failed"), a_row(False)]
    rows[2]["reward"]["total"] = -1.0
    rows[2]["episode"]["ending"] = "turns"
    (tmp_path / "step-000010.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    best, worst = best_and_worst(tmp_path, 10)
    assert best.startswith("best saved episode, reward 0.75, answered")
    assert "(take gave taken)" in best and "(user: and now?)" in best
    assert worst.startswith("worst saved episode, reward -1.00, cut at environment.max_turns")
