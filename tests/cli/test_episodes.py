"""Commands on a run in an environment."""

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, code=0, typed=None):
    done = CliRunner().invoke(app, [*map(str, arguments)], input=typed, env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def rows_of(folder):
    lines = (folder / "rollouts" / "step-000001.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_training_tells_tasks_done_turns_and_errors(acting_run):
    printed = (acting_run.parent.parent / "printed").read_text()
    metrics = json.loads((acting_run / "metrics.jsonl").read_text().splitlines()[0])
    [line] = [each for each in printed.splitlines() if each.startswith("step 1/1")]
    assert line.startswith(
        f"step 1/1  reward {metrics['reward']:.2f}  done {metrics['episode/success']:.0%}  "
        f"turns {metrics['episode/turns']:.1f}  errors {metrics['episode/errors']:.2f}  entropy: "
    )
    assert "tasks done, greedy" in printed and "turns, sampled" in printed
    assert "exact match" not in printed and "-3 to 4" not in printed


def test_the_rewards_of_turns_are_logged_and_add_up(acting_run):
    metrics = json.loads((acting_run / "metrics.jsonl").read_text().splitlines()[0])
    rows = rows_of(acting_run)
    assert len(rows) == 8  # two of four groups are saved
    for row in rows:
        turns = row["episode"]["turns"]
        assert sum(turn["reward"] for turn in turns) == pytest.approx(row["reward"]["total"])
    assert {"turn_reward/first", "turn_reward/last"} <= metrics.keys()


def test_entropies_are_logged_by_turn_and_region(acting_run):
    """A mean over all turns lies between those of the first, the middle and the last ones."""
    metrics = json.loads((acting_run / "metrics.jsonl").read_text().splitlines()[0])
    for region in ("name", "parameters", "reasoning"):
        parts = [
            metrics[name]
            for part in ("first", "middle", "last")
            if (name := f"turn_entropy/{part}/{region}") in metrics
        ]
        assert len(parts) >= 2
        assert min(parts) - 1e-6 <= metrics[f"entropy/{region}"] <= max(parts) + 1e-6
        assert max(parts) > min(parts)
    assert {"turn_entropy/first", "turn_entropy/last"} <= metrics.keys()


@pytest.mark.parametrize("row", range(8))
def test_inspect_shows_turns_calls_results_and_the_ending(acting_run, row):
    record = rows_of(acting_run)[row]
    output = run("inspect", acting_run, "--row", row)
    place = 0
    for number, turn in enumerate(record["episode"]["turns"], 1):
        said = f"turn {number} of {len(record['episode']['turns'])}, reward {turn['reward']:.2f}"
        place = output.index(said, place)
        for call, (_, result) in zip(turn["calls"], turn["results"], strict=False):
            place = output.index(f"{call['name']} {json.dumps(call['parameters'])}", place)
            place = output.index(f"  result     {result}", place)
    last = output[place:]
    assert f"reward {record['reward']['total']:.2f}; the task was " in last
    assert "[user] " in output and "share of weight" in output
    assert f"advantage    {record['advantage']:.2f}" in output


def test_the_page_of_an_episode_has_the_recorded_weights_and_what_was_read(acting_run):
    record = max(rows_of(acting_run), key=lambda row: len(row["episode"]["turns"]))
    row = rows_of(acting_run).index(record)
    run("inspect", acting_run, "--row", row, "--html", "e.html", "--svg", "e.svg")
    page = Path("e.html").read_text()
    shown = [float(part.split('"')[0]) for part in page.split('data-weight="')[1:]]
    assert shown == pytest.approx(record["weights"])
    read = re.findall(r'<span class="read">(.*?)</span>', page)
    results = [text for turn in record["episode"]["turns"] for _, text in turn["results"]]
    assert results and read == results
    assert page.count("<h2>Turn ") == len(record["episode"]["turns"])
    assert "turn 1 of" in Path("e.svg").read_text().replace("&#160;", " ")


@pytest.mark.parametrize(
    "option",
    [
        ("--scheme", "uniform"),
        ("--truth", "x"),
        ("--entropy", "format=0.1"),
        ("--progress", "0.5"),
        ("--dialect", "rlla"),
        ("--policy", "embedded"),
    ],
)
def test_inspect_refuses_what_would_read_an_episode_anew(acting_run, option):
    output = run("inspect", acting_run, *option, code=2)
    assert option[0] in output and "as it was recorded" in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("turns", 3),
        ("turns", [3]),
        ("turns", [{}]),
        ("ending", None),
        ("reward", "x"),
        ("sampled", [1]),
    ],
)
def test_a_broken_episode_is_named_in_a_line_and_the_page_is_written(acting_run, part, value):
    shutil.copytree(acting_run, "copy")
    rows = rows_of(acting_run)
    rows[0]["episode"][part] = value
    file = Path("copy/rollouts/step-000001.jsonl")
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = run("inspect", "copy", code=2)
    assert "row 0: no episode" in output and len(output.splitlines()) == 1
    run("report", "copy")
    assert Path("copy/report.html").is_file()


TOOLS = (
    'def find(name: str) -> str:\n    """Find it.\n\n    Args:\n        name: its name.\n    """\n'
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("score", "RUN"), "itself gives the rewards"),
        (("score", "RUN/rollouts/step-000001.jsonl"), "an episode"),
        (("score", "RUN/evaluation/after.jsonl"), "an episode"),
        (("variance", "--run", "RUN"), "not of episodes"),
        (("gain", "--run", "RUN"), "not of episodes"),
        (("data", "show", "RUN/recipe.yaml"), "no dialogues"),
        (("data", "check", "RUN/recipe.yaml"), "no dialogues"),
        (("data", "prepare", "RUN/recipe.yaml", "--output", "o.parquet"), "no dialogues"),
        (("chat", "RUN"), "--tools FILE"),
    ],
)
def test_commands_that_are_not_of_episodes_say_so_in_a_line(acting_run, tmp_path, arguments, said):
    output = run(*(each.replace("RUN", str(acting_run)) for each in arguments), code=2)
    assert said in output and "environment" in output
    assert len(output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_chat_takes_tools_of_ones_own(acting_run, tmp_path):
    (tmp_path / "tools.py").write_text(TOOLS + "    return 'Oslo'\n")
    output = run("chat", acting_run, "--tools", "tools.py", typed="Where is it?\n")
    assert re.search(r"thought|text|call|broken", output)


def test_runs_are_listed_by_tasks_done(acting_run, tmp_path):
    output = run("runs", acting_run.parent)
    after = json.loads((acting_run / "evaluation" / "after.json").read_text())
    assert "tasks done" in output and "exact match" not in output
    assert f"-> {after['greedy_exact_match']:.1%}, greedy" in output
    shutil.copytree(acting_run, "runs/acting")
    shutil.copytree(acting_run, "runs/single")
    recipe = tmp_path / "runs" / "single" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("source: world", "source: null"))
    both = run("runs")
    assert "held out" in both
    assert "greedy, exact match" in both and "greedy, tasks done" in both


def test_the_model_card_tells_tasks_done_and_turns(acting_run):
    run("export", acting_run, "--to", "exported")
    card = Path("exported/README.md").read_text()
    for label in ("tasks done, sampled", "reward, greedy |", "turns, greedy"):
        assert label in card
    assert "exact match" not in card and "-3 to 4" not in card
    assert "Episodes of the environment `world`" in card
