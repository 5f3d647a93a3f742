"""A run that is made longer: from a generation's end, and whole whenever it is killed."""

import json
import os
import shutil
from pathlib import Path

import pytest
from small_runs import FEW, metrics
from typer.testing import CliRunner

from toolrest.cli.main import app

SPLIT = ("optimizer.mini_batch=1", "save_steps=2")
"""Two optimiser steps a generation."""


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(*words):
    return CliRunner().invoke(app, ["train", *words, "--quiet"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The runs that were trained for a test of this file, by their settings."""
    runs = {}

    def run_of(*words):
        if words not in runs:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path_factory.mktemp("trained"))
                done = train(*FEW, "name=began", *words)
                assert done.exit_code == 0, done.output
                runs[words] = Path("runs/began").absolute()
        return runs[words]

    return run_of


@pytest.fixture
def began(trained):
    """Makes `runs/began`, a run with some settings that is done."""
    return lambda *words: copy(trained(*words), "runs/began")


def copy(run, name):
    shutil.rmtree(name, ignore_errors=True)
    return Path(shutil.copytree(run, name))


def extensions(run):
    lines = (run / "warnings.jsonl").read_text().splitlines()
    return [line for line in lines if json.loads(line)["name"] == "extended"]


def killed_at(number, monkeypatch, *words):
    """Run a command whose process dies at its write of this number, counted from 0.

    Returns:
        Whether it died, rather than have come to its training.
    """
    count = 0

    def deadly(write):
        def counted(path, *positional, **keywords):
            nonlocal count
            adds = write is not opens or positional[0] & os.O_APPEND
            if adds and not (write is removes and path.suffix == ".part"):
                count += 1
                if count > number:
                    raise Killed
            return write(path, *positional, **keywords)

        return counted

    opens, removes = os.open, Path.unlink
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", deadly(opens))
        patched.setattr(Path, "unlink", deadly(removes))
        patched.setattr(Path, "replace", deadly(Path.replace))
        came = []
        patched.setattr("toolrest.cli.train._run", lambda *a, **k: came.append(True))
        try:
            found = train(*words)
        except Killed:
            return True
    assert came, found.output
    return False


@pytest.mark.slow
@pytest.mark.parametrize("again", [(), pytest.param(("max_steps=4",), marks=pytest.mark.slow)])
def test_killed_between_any_two_writes_it_goes_on(monkeypatch, began, again):
    """By a plain --resume to the old end or the new one, as far as it had come; and by the same
    command to the new one.
    """
    run = began("max_steps=2")
    straight = copy(run, "straight")
    assert train("--resume", str(straight), "max_steps=4").exit_code == 0
    expected, number, ends = metrics(straight), 0, []
    while killed_at(number, monkeypatch, "--resume", str(copy(run, "cut")), "max_steps=4"):
        cut = Path("cut")
        done = (cut / "summary.json").is_file()
        found = train("--resume", "cut", *again)
        if done and not again:
            assert found.exit_code == 2 and "that run is done" in found.output
        else:
            assert found.exit_code == 0, (number, found.output)
        ends.append(len(metrics(cut)))
        assert metrics(cut) == expected[: ends[-1]]
        summary = json.loads((cut / "summary.json").read_text())
        assert summary["steps"] == ends[-1] and summary["after"]["n"] == 2
        for name in ("after.json", "after.jsonl"):
            assert (cut / "evaluation" / name).is_file(), number
        if ends[-1] == 4:
            assert len(extensions(cut)) == 1, number
            assert "was raised after step 2" in (cut / "recipe.yaml").read_text()
            assert (cut / "evaluation" / "after-2.json").is_file()
        assert "extending" not in json.loads((cut / "data.json").read_text()) or done
        number += 1
    assert sorted(ends) == ends and ends[-1] == 4 and (ends[0] == 2 or again)


@pytest.mark.slow
def test_from_inside_a_generation_it_goes_on_from_the_last_end_of_one(began):
    """As a run that was that long from the start has its generations; the policy of the shorter
    one's last step is of half a generation.
    """
    run = began("max_steps=3", *SPLIT)
    straight = Path("runs/straight")
    assert train(*FEW, *SPLIT, "name=straight", "max_steps=6").exit_code == 0
    planned = train("--resume", str(run), "max_steps=6", "--dry-run")
    assert planned.exit_code == 0, planned.output
    said = "the steps after 2 up to 3 are done again, since 3 is inside a generation"
    assert said in planned.output and (run / "summary.json").is_file()
    found = train("--resume", str(run), "max_steps=6")
    assert found.exit_code == 0 and said in found.output, found.output
    names = [
        sorted(path.name for path in (each / "rollouts").iterdir()) for each in (run, straight)
    ]
    assert names[0] == names[1] == [f"step-{step:06d}.jsonl" for step in (1, 3, 5)]
    assert [row["step"] for row in metrics(run)] == [1, 2, 3, 4, 5, 6]
    assert [set(row) for row in metrics(run)] == [set(row) for row in metrics(straight)]
    assert (run / "evaluation" / "after-3.json").is_file()


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "lock"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "longer", "said"),
    [
        (("max_steps=1", *SPLIT), 6, "a multiple of 2, or over save_steps=2"),
        (("max_steps=2",), 2, "can be given more alone"),
        (("max_steps=2",), 1, "can be given more alone"),
        (("max_steps=2",), 3, "the recipe has changed"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(began, words, longer, said):
    run = began(*words)
    if "changed" in said:
        text = (run / "recipe.yaml").read_text()
        (run / "recipe.yaml").write_text(text.replace("seed: 0", "seed: 1"))
    before = contents(run)
    command = ("--resume", str(run), f"max_steps={longer}")
    found = [train(*command, *more) for more in (("--dry-run",), ())]
    for each in found:
        assert each.exit_code == 2 and said in each.stderr and each.stderr.count("\n") == 1
    assert found[0].stderr == found[1].stderr
    assert contents(run) == before
