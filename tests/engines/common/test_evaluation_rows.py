"""Rows of their own to evaluate on: read as the others are, and none of the others is held out."""

import json

import pyarrow.parquet as parquet
import pytest
from small_runs import rows

from toolrest.core.dialects import get_dialect
from toolrest.doctor.preflight import preflight
from toolrest.engines.common.data import check_origins, report_data
from toolrest.engines.common.run_rows import run_samples
from toolrest.engines.verl.rows import write_rows
from toolrest.errors import InputError
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import dump_recipe, load_recipe, recipe_of_text
from toolrest.runs.folder import RunFolder
from toolrest.runs.origins import file_origins


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """train.jsonl with twelve rows and own.jsonl with five others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("toolrest.engines.common.data._WORLD_TRAIN_SAMPLES", 32)
    rows(tmp_path / "train.jsonl", 12)
    lines = rows(tmp_path / "own.jsonl", 17).read_text().splitlines(keepends=True)
    (tmp_path / "own.jsonl").write_text("".join(lines[12:]))
    return tmp_path


OWN = ("data.path=train.jsonl", "evaluation.path=own.jsonl", "rollout.prompts_per_step=2")


def of(*overrides):
    """(recipe, tokenizer, samples)"""
    recipe = load_recipe(None, list(overrides))
    tokenizer = load_tokenizer(recipe)
    recipe, _ = fit_recipe(recipe, tokenizer)
    return recipe, tokenizer, run_samples(recipe, tokenizer)


def asked(sample):
    return sample.prompt[-1]["content"]


@pytest.mark.parametrize("dialect", ["rlla", "hermes"])
def test_all_rows_are_trained_on_and_the_files_rows_are_evaluated_on(dialect):
    more = () if dialect == "rlla" else ("dialect=hermes", "data.prompt=plain")
    recipe, _, found = of(*OWN, *more)
    assert recipe.data.heldout_fraction == 0.0
    assert len(found.train) == 12 and len(found.heldout) == 5
    assert all(f"City {12 + at}" in asked(each) for at, each in enumerate(found.heldout))
    # as the same rows are read to be trained on
    _, _, other = of("data.path=own.jsonl", "data.heldout_fraction=0", OWN[2], *more)
    assert list(other.train) == found.heldout


def test_on_the_command_line_they_take_the_place_of_what_a_recipe_holds_out(files):
    (files / "it.yaml").write_text("data: {path: train.jsonl, heldout_fraction: 0.3}\n")
    assert load_recipe(files / "it.yaml", [OWN[1]]).data.heldout_fraction == 0.0
    with pytest.raises(InputError, match=r"data.heldout_fraction=0.3"):
        load_recipe(files / "it.yaml", [OWN[1], "data.heldout_fraction=0.3"])


def test_the_recipe_of_a_run_says_that_nothing_is_held_out():
    recipe = load_recipe(None, list(OWN))
    assert "heldout_fraction: 0.0" in dump_recipe(recipe)
    assert recipe_of_text(dump_recipe(recipe), "x") == recipe
    # a run of before these keys
    old = dump_recipe(load_recipe(None, [OWN[0]])).splitlines()
    new = ("path: null", "benchmarks:", "benchmark_items:", "bfcl_categories:", "apibank:")
    new += ("metric:", "save_best:", "patience:", "keep_checkpoints:")
    text = "\n".join(line for line in old if not line.strip().startswith(new))
    assert recipe_of_text(text, "x").data.heldout_fraction == 0.1


def test_prompts_that_are_too_long_are_left_out_of_both_and_named(files):
    line = (files / "own.jsonl").read_text().splitlines()[0]
    long = line.replace("What is new in City 12", "What is new in " + "old " * 200 + "City 12")
    with (files / "own.jsonl").open("a") as out:
        out.write(long + "\n")
    longest = 900
    _, _, found = of(*OWN, f"data.max_prompt_tokens={longest}")
    assert len(found.heldout) == 5 and found.rows == 18
    assert [row for row, tokens in found.dropped if tokens > longest] == ["evaluation 5"]
    with pytest.raises(InputError, match=r"^evaluation.path=.*own.jsonl: data.max_prompt_tokens="):
        of(OWN[1], "data.max_prompt_tokens=100")  # the embedded tasks fit


def test_the_embedded_tasks_can_be_evaluated_on_rows_of_a_file():
    _, _, found = of(OWN[1])
    assert len(found.train) == 32 and [each.source for each in found.heldout] == ["own.jsonl"] * 5


def test_a_changed_file_is_known_by_its_bytes_and_its_rows(files, tmp_path):
    recipe, tokenizer, samples = of(*OWN)
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    origin = check_origins(recipe, tokenizer, samples, run, accept=False)
    report_data(samples, 5, run, origin)
    written = json.loads(run.data.read_text())
    assert (written["train"], written["heldout"], written["rows"]) == (12, 5, 17)
    assert f"data {files / 'own.jsonl'}" in written["origins"]
    check_origins(recipe, tokenizer, samples, run, accept=False)
    text = (files / "own.jsonl").read_text()
    (files / "own.jsonl").write_text(text.replace("City 16", "City 17"))
    _, _, changed = of(*OWN)
    with pytest.raises(InputError, match=r"data .*own.jsonl has changed; put back .*--accept-chan"):
        check_origins(recipe, tokenizer, changed, run, accept=False)
    accepted = check_origins(recipe, tokenizer, changed, run, accept=True)
    assert accepted.hashes["the rows"] != origin.hashes["the rows"]


def test_episodes_are_played_on_the_files_rows():
    words = ("environment.source=world", "environment.rows=24", OWN[1])
    _, _, found = of(*words)
    assert len(found.train) == 24
    assert [each.row for each in found.heldout] == list("01234")
    assert all("messages" in (each.columns or {}) for each in found.heldout)
    recipe = load_recipe(None, list(words))
    assert any(name.endswith("own.jsonl") for name in file_origins(recipe))


def test_verl_evaluates_on_the_files_rows(tmp_path):
    _, tokenizer, found = of(*OWN)
    write_rows(
        found.heldout, tmp_path / "h.parquet", tokenizer, get_dialect("rlla"), written_out=False
    )
    written = parquet.read_table(tmp_path / "h.parquet").to_pylist()
    assert len(written) == 5 and "City 12" in str(written[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*OWN, "data.heldout_fraction=0.1"), "and data.heldout_fraction=0.1: .*leave one of them"),
        ((*OWN, "evaluation.samples=0"), "with evaluation.samples=0: nothing is evaluated"),
        (("data.path=own.jsonl", OWN[1]), "these rows are trained on"),
        (("data.sources=[{path: own.jsonl}]", OWN[1]), "these rows are trained on"),
    ],
)
def test_what_contradicts_them_is_refused(words, said):
    with pytest.raises(InputError, match=rf"^evaluation.path=\S*own.jsonl.*{said}"):
        load_recipe(None, list(words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluation.samples=0"], "with evaluation.samples=0: nothing is evaluated"),
        (["evaluation.every=8", "collapse.end=true"], "with collapse.end=true"),
    ],
)
def test_no_evaluation_before_training_is_refused_where_one_is_needed(words, said):
    with pytest.raises(InputError, match=rf"^evaluation.before=false {said}"):
        load_recipe(None, ["evaluation.before=false", *words])


def test_a_file_that_is_not_there_or_is_broken_is_refused_before_anything_is_spent(files):
    with pytest.raises(InputError, match=r"nope.jsonl: there is no such file"):
        preflight(load_recipe(None, [OWN[0], "evaluation.path=nope.jsonl"]))
    (files / "own.jsonl").write_text('{"messages": 3}\n')
    with pytest.raises(InputError, match=r"own.jsonl"):
        preflight(load_recipe(None, list(OWN)))


def test_methods_that_are_compared_are_evaluated_on_the_same_rows():
    from toolrest.experiments.methods import Method, check_measured_alike

    with pytest.raises(InputError, match=r"method a: it is evaluated on other rows"):
        others = Method("a", ("evaluation.path=others.jsonl",))
        check_measured_alike(load_recipe(None, list(OWN)), [others])
