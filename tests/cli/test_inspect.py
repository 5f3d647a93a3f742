"""`toolrest inspect`: texts, files and runs."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from tiny_policies import write_policy
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.core.dialects import get_dialect
from toolrest.core.regions import Region, label_tokens
from toolrest.core.vocabulary import Vocabulary
from toolrest.core.weights import RegionEntropy, TokenBatch, get_scheme
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import Recipe, dump_recipe
from toolrest.report.inspection import UNFINISHED

TEXT = '<think> I look. </think>\n<tool_call>\n{"name": "a", "parameters": {"b": 1}}\n</tool_call>'
GIVEN = ("--entropy", "format=0.1", "--entropy", "reasoning=0.8", "--entropy", "parameters=0.4")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, code=0, columns=200):
    done = CliRunner().invoke(app, ["inspect", *map(str, arguments)], env={"COLUMNS": str(columns)})
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def expected_weights(text, tokenizer, progress):
    """Straight from the core."""
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    regions = label_tokens(ids, mask, vocabulary, get_dialect("rlla"))
    total, count = torch.zeros(len(Region)).double(), torch.zeros(len(Region)).double()
    for region, mean in ((Region.FORMAT, 0.1), (Region.REASONING, 0.8), (Region.PARAMETERS, 0.4)):
        total[region], count[region] = mean, 1.0
    batch = TokenBatch(regions, mask, progress, RegionEntropy(total, count))
    return get_scheme("rest")(batch)[0].tolist()


@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_the_page_has_the_weights_that_the_core_gives(embedded_tokenizer, progress):
    run("--text", TEXT, *GIVEN, "--progress", progress, "--html", "i.html")
    page = Path("i.html").read_text()
    shown = [float(part.split('"')[0]) for part in page.split('data-weight="')[1:]]
    assert shown == pytest.approx(expected_weights(TEXT, embedded_tokenizer, progress), abs=1e-5)


def loads_nothing(picture):
    """Its text, once it is known to be SVG without scripts and addresses."""
    tree = ElementTree.parse(picture)
    assert not re.findall(r"url\([^#]|href|@import|<script|onload=\"", picture.read_text())
    return "".join(tree.getroot().itertext()).replace("\xa0", " ")


def test_the_picture_is_svg_that_loads_nothing():
    run("--text", TEXT, *GIVEN, "--svg", "i.svg")
    shown = loads_nothing(Path("i.svg"))
    for part in ("a response, row 0", "tool_call", "share of weight", "parse status ok"):
        assert part in shown
    assert "cannot be written" in run("--text", TEXT, *GIVEN, "--svg", "no/i.svg", code=2)


def test_the_terminal_shows_regions_weights_calls_and_reward():
    output = run("--text", TEXT, *GIVEN, "--truth", TEXT)
    for part in ("reasoning", "share of weight", "parse status ok", "call         a {'b': 1}"):
        assert part in output
    assert "reward       4.00" in output and "exact match: yes" in output


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns):
    Path("r.txt").write_text(TEXT * 3)
    for line in run("r.txt", *GIVEN, columns=columns).splitlines()[2:12]:
        assert len(line) <= columns


def test_weights_by_gradients_are_shown_of_a_run_alone():
    output = run("--text", TEXT, "--scheme", "signal", code=2)
    assert "weighs by gradients of its run's earlier batches" in " ".join(output.split())


def test_a_prompt_gives_entropies(embedded_tokenizer):
    Path("p.txt").write_text("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    output = run("--text", TEXT, "--prompt", "p.txt", "--html", "i.html")
    assert "entropy, nats" in output
    assert "nats" in Path("i.html").read_text()


def a_run(**settings):
    folder = Path("runs/a")
    (folder / "rollouts").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(dump_recipe(Recipe(max_steps=10, **settings)))
    metrics = {"step": 3, "share/format": 0.5, "share/reasoning": 0.5}
    metrics |= {"entropy/format": 0.1, "entropy/reasoning": 0.8}
    (folder / "metrics.jsonl").write_text(json.dumps(metrics) + '\n{"step": 4, "ent')
    rows = [{"step": 2, "response": text, "ground_truth": TEXT} for text in (TEXT, "none")]
    (folder / "rollouts" / "step-000002.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows)
    )
    return folder


def test_a_runs_rollouts_are_looked_at_with_its_own_entropies():
    folder = a_run()
    assert "exact match: yes" in run(folder)
    assert "stray_text" in run(folder, "--row", 1)
    assert "exact match: yes" in run(folder / "rollouts" / "step-000002.jsonl", *GIVEN)


@pytest.mark.parametrize(
    ("options", "reward"),
    [({}, "2.00"), ({"lenient_types": True}, "4.00"), ({"correctness": {"exact": 1.0}}, "-2.00")],
)
def test_a_runs_responses_are_scored_as_the_run_scores_them(options, reward):
    """By hand: name and parameter are right, the value is of another type: 2 of 3 parts."""
    folder = a_run(reward=options)
    row = {"step": 2, "response": TEXT, "ground_truth": TEXT.replace('"b": 1', '"b": "1"')}
    (folder / "rollouts" / "step-000002.jsonl").write_text(json.dumps(row) + "\n")
    assert f"reward       {reward}" in run(folder)


def test_recorded_weights_are_shown_as_they_are_unless_others_are_asked_for(embedded_tokenizer):
    """Of a scheme, too, that weighs tokens by what their group did."""
    folder = a_run()
    ids = embedded_tokenizer(TEXT)["input_ids"]
    row = {"step": 2, "response": TEXT, "ids": ids, "regions": ["format"] * len(ids)}
    row["weights"] = [round(0.01 * number, 4) for number in range(len(ids))]
    (folder / "rollouts" / "step-000002.jsonl").write_text(json.dumps(row) + "\n")
    run(folder, "--html", "i.html")
    shown = [float(p.split('"')[0]) for p in Path("i.html").read_text().split('data-weight="')[1:]]
    assert shown == row["weights"]
    assert "reasoning" in run(folder, "--scheme", "uniform").split("share of weight")[1]


@pytest.mark.parametrize(("mini", "iterations"), [(1, 1), (2, 2)])
@pytest.mark.parametrize("named", ["by the step", "by the steps done"])
def test_a_step_inside_a_generation_shows_the_rollouts_it_trained_on(mini, iterations, named):
    """Two optimiser steps a generation, of mini-batches or of iterations; earlier versions named
    rollouts by the steps done.
    """
    optimizer = {"mini_batch": mini, "iterations": iterations}
    rollout = {"prompts_per_step": 2}
    folder = a_run(optimizer=optimizer, rollout=rollout, save_steps=2)
    (folder / "metrics.jsonl").write_text("".join(f'{{"step": {s}}}\n' for s in (1, 2, 3)))
    (folder / "rollouts" / "step-000002.jsonl").unlink()
    late = 1 if named == "by the step" else 0
    for first, text in ((1, TEXT), (3, "none")):
        path = folder / "rollouts" / f"step-{first - 1 + late:06d}.jsonl"
        path.write_text(json.dumps({"step": first, "response": text}) + "\n")
    said = "trained on the rollouts of step"
    given = GIVEN
    assert said not in (own := run(folder, "--step", 1, *given))
    inside = run(folder, "--step", 2, *given)
    note = "step 2 trained on the rollouts of step 1, which are shown"
    assert note in inside and inside.replace(note + "\n", "") == own
    assert "stray_text" in run(folder, "--step", 3, *given)
    for step in (0, 4, 5):
        done = CliRunner().invoke(app, ["inspect", str(folder), "--step", str(step)])
        assert done.exit_code == 2 and f"no rollouts of step {step}; it has" in done.stderr
        assert "of steps 1, 3" in done.stderr


def test_broken_metrics_and_odd_steps_are_passed_over():
    folder = a_run()
    whole = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text('not json\n[1]\n{"step": "x"}\n' + whole)
    assert "exact match: yes" in run(folder)


HOSTILE = (
    '<script>alert(1)</script></style>javascript:alert(1) \u202eevil\u0007\x1b[31m " onload="x'
)


def test_hostile_text_is_text_in_the_page_and_in_the_terminal():
    output = run("--text", HOSTILE, *GIVEN, "--html", "i.html", "--svg", "i.svg")
    assert "javascript:" in "".join(loads_nothing(Path("i.svg")).split())
    page = Path("i.html").read_text()
    assert "<script" not in page
    assert "</style>javascript" not in page
    assert "\u202e" not in page + output and "\x1b" not in output and "\x07" not in page + output
    assert 'onload="x' not in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a run"),
        (("--text", ""), "empty"),
        (("--text", "x"), "--entropy format=0.1"),
        (("--text", "x", "--entropy", "formt=1"), "did you mean 'format'"),
        (("--text", "x", "--entropy", "format=x"), "give nats"),
        (("--text", "x", "--scheme", "rset"), "did you mean 'rest'"),
        (("--text", "x", "--scheme", "gtpo"), "inspect a run"),
        (("none.txt",), "neither a run nor a file"),
        ((".",), "neither a run"),
        (("runs/a", "--row", "9"), "2 responses"),
        (("runs/a", "--step", "7"), "no rollouts of step 7"),
        (("broken.jsonl",), "not a rollout"),
        (("--text", "x", "--scheme", "uniform", "--html", "no/folder/i.html"), "cannot be written"),
    ],
)
def test_wrong_input_is_one_line(arguments, words):
    a_run()
    Path("broken.jsonl").write_text('{"response": 5}\n')
    assert words in run(*arguments, code=2)


def test_a_character_of_several_tokens_is_shown_once_in_its_regions_colour(embedded_tokenizer):
    said = "東京 é 🙂"
    text = TEXT.replace("I look.", said)
    output = run("--text", text, *GIVEN, "--html", "i.html", "--svg", "i.svg", columns=400)
    page = Path("i.html").read_text()
    tokens = re.findall(r'<span class="token (\w+)"[^>]*>([^<]*)</span>', page)
    assert len(tokens) == len(embedded_tokenizer(text)["input_ids"])
    for shown in (output, page, loads_nothing(Path("i.svg"))):
        assert "\ufffd" not in shown and UNFINISHED in shown
        for character in said.replace(" ", ""):
            assert shown.count(character) == 1
    of = {piece: region for region, piece in tokens}
    assert {of[c] for c in (*"東京é🙂", UNFINISHED)} == {"reasoning"}


@pytest.mark.parametrize(
    ("ended", "recorded", "where", "cut"),
    [
        (True, None, "run", False),
        (False, None, "run", True),
        (False, None, "run's file", True),
        (False, None, "file", False),  # of another file it is not known what was sampled
        (True, True, "file", True),
        (True, False, "run", False),
    ],
)
def test_a_response_that_was_cut_is_said_to_be(embedded_tokenizer, ended, recorded, where, cut):
    folder = a_run()
    ids = embedded_tokenizer(TEXT)["input_ids"] + [embedded_tokenizer.eos_token_id] * ended
    row = {"step": 2, "response": TEXT, "ids": ids} | (
        {} if recorded is None else {"cut": recorded}
    )
    path = folder / "rollouts" / "step-000002.jsonl"
    for each in (path, Path("x.jsonl")):
        each.write_text(json.dumps(row) + "\n")
    source = {"run": folder, "run's file": path, "file": "x.jsonl"}[where]
    output = run(source, *GIVEN, "--html", "i.html")
    page = Path("i.html").read_text()
    assert "parse status ok" in output and "Parse status: ok" in page
    for shown in (output, page):
        assert ("ok, but cut at the length limit" in shown) == cut


HERMES = '<tool_call>\n{"name": "f", "arguments": {"x": %s}}\n</tool_call>'


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("within", [".", "runs/a/rollouts"])
def test_a_file_of_a_run_is_looked_at_as_the_run_is(recorded, within, tmp_path, monkeypatch):
    """By its policy's tokenizer, its dialect, its reward and its scheme, wherever one stands."""
    policy = write_policy(tmp_path / "tiny", "qwen3")
    values = {"policy": str(policy), "dialect": "hermes", "data": {"path": "rows.jsonl"}}
    values |= {"reward": {"lenient_types": True}, "weighting": {"scheme": "uniform"}}
    folder = Path("runs/a")
    (folder / "rollouts").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(dump_recipe(Recipe.model_validate(values)))
    text = HERMES % '"5"'
    ids = load_tokenizer(Recipe(policy=str(policy)))(text)["input_ids"]
    row = {"step": 2, "response": text, "ids": ids, "ground_truth": HERMES % "5"}
    row |= {"opening": "", "prompt": "q", "reward": {"total": 4.0}}
    if recorded:
        row |= {"regions": ["format"] * len(ids), "weights": [1.0] * len(ids)}
    path = folder / "rollouts" / "step-000002.jsonl"
    path.write_text(json.dumps(row) + "\n")
    of_run = run(folder)
    monkeypatch.chdir(within)
    of_file = run("step-000002.jsonl" if within != "." else path)
    assert of_file == of_run and "exact match: yes" in of_file


@pytest.mark.parametrize("schedule", ["constant", "rest"])
def test_two_rewards_of_a_response_are_told_apart(schedule):
    folder = a_run(reward={"schedule": schedule})
    row = {"step": 2, "response": TEXT, "ground_truth": TEXT, "reward": {"total": 3.25}}
    (folder / "rollouts" / "step-000002.jsonl").write_text(json.dumps(row) + "\n")
    words = "with constant ranges, by which steps compare"
    trained = "3.25, by reward.schedule=rest at its step"
    output = run(folder, "--html", "i.html")
    for shown in (output, Path("i.html").read_text()):
        assert "4.00 = format" in shown
        assert (words in shown) == (trained in shown) == (schedule == "rest")


@pytest.mark.parametrize(
    ("listed", "value", "total"), [(False, "5", "4.00"), (True, "'5'", "2.00")]
)
@pytest.mark.parametrize("written", [list, json.dumps])
def test_values_are_read_by_the_types_that_the_row_s_tools_declare(listed, value, total, written):
    """By hand: as texts 5.0 and 5 differ, so 2 of 3 parts are right: 1 - 3 + 6 * 2 / 3."""
    folder = a_run(dialect="qwen_xml", data={"path": "rows.jsonl"})
    text = "<tool_call>\n<function=f>\n<parameter=x>\n5\n</parameter>\n</function>\n</tool_call>"
    schema = {"type": "object", "properties": {"x": {"type": "string"}}}
    row = {"step": 2, "response": text, "ground_truth": text.replace("5", "5.0")}
    if listed:
        row["tools"] = written(
            [{"type": "function", "function": {"name": "f", "parameters": schema}}]
        )
    (folder / "rollouts" / "step-000002.jsonl").write_text(json.dumps(row) + "\n")
    shown = run(folder)
    assert f"reward       {total}" in shown
    assert re.search(rf"x['\"]?[:=] ?{value.replace(chr(39), '.')}\D", shown), shown
