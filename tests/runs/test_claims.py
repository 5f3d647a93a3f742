import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from toolrest.errors import InputError
from toolrest.io.files import TakenError
from toolrest.runs.claims import find_run, new_run, remove_run, resumed_run
from toolrest.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def start(name):
    with new_run(name, "unused") as run:
        run.recipe.write_text("seed: 0\n")
    return run


def test_a_default_name_gets_a_number_when_taken():
    with ExitStack() as held:
        runs = [held.enter_context(new_run(None, "a")) for _ in range(3)]
        assert [run.path.name for run in runs] == ["a", "a-2", "a-3"]


def test_a_taken_name_is_named():
    start("mine")
    with pytest.raises(InputError, match="--resume runs/mine"), new_run("mine", "unused"):
        pass


def test_a_name_that_is_a_file_s_or_a_link_s_to_nothing_is_taken():
    Path("runs").mkdir()
    (Path("runs") / "file").touch()
    (Path("runs") / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        with pytest.raises(InputError, match="there already"), new_run(name, "unused"):
            pass
        with new_run(None, name) as run:
            assert run.path.name == f"{name}-2"


def test_a_folder_that_is_removed_while_it_is_looked_at_is_made(monkeypatch):
    """`mkdir` finds it there, and then no folder."""
    real, calls = Path.mkdir, []

    def mkdir(path, *arguments, **options):
        calls.append(path)
        if len(calls) == 1:
            raise FileExistsError(path)
        real(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with new_run("mine", "unused") as run:
        assert run.lock.is_file()


def test_runs_that_is_a_file_is_named():
    Path("runs").touch()
    for name in ("mine", None):
        with pytest.raises(InputError, match="cannot be made"), new_run(name, "unused"):
            pass


def test_auto_finds_the_newest_undone_run():
    old, done, new = start("old"), start("done"), start("new")
    for age, run in enumerate((new, done, old)):
        os.utime(run.recipe, (1000 - age, 1000 - age))
    done.summary.write_text("{}")
    assert find_run("auto").path == new.path
    new.summary.write_text("{}")
    assert find_run("auto").path == old.path
    old.summary.write_text("{}")
    with pytest.raises(InputError, match="no run in runs is unfinished"):
        find_run("auto")


def test_auto_passes_by_a_run_that_is_removed_meanwhile(monkeypatch):
    kept, removed = start("kept"), start("removed")

    def summary(run):
        if run == removed:
            shutil.rmtree(run.path)
        return run.path / "summary.json"

    monkeypatch.setattr(RunFolder, "summary", property(summary))
    assert find_run("auto").path == kept.path
    assert not removed.path.exists()


def test_runs_that_cannot_be_resumed_are_named():
    with pytest.raises(InputError, match=r"no run is there"), resumed_run("runs/none"):
        pass
    start("a").summary.write_text("{}")
    with pytest.raises(InputError, match="that run is done"), resumed_run("runs/a"):
        pass


def test_a_name_whose_run_was_killed_before_it_began_is_free():
    folder = Path("runs") / "mine"
    (folder / "warm_start.part").mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "recipe.yaml.12.part").write_text("see")
    with new_run("mine", "unused") as run:
        assert [path.name for path in run.path.iterdir()] == ["lock"]


@pytest.mark.parametrize("error", [InputError("bad"), KeyboardInterrupt(), RuntimeError("bug")])
def test_where_nothing_was_done_nothing_is_left(error):
    with pytest.raises(type(error)), new_run("mine", "unused") as run:
        run.recipe.write_text("seed: 0\n")
        run.environment.write_text("{}")
        (run.path / "data.json.12.part").write_text("see")
        run.evaluation.mkdir()
        with run.worked_in():
            pass
        raise error
    assert not list(Path("runs").glob("*"))


@pytest.mark.parametrize("file", ["warm_start/model.safetensors", "metrics.jsonl", "notes.txt"])
def test_what_was_done_is_kept(file):
    with pytest.raises(InputError, match="bad"), new_run("mine", "unused") as run:
        run.recipe.write_text("seed: 0\n")
        (run.path / file).parent.mkdir(exist_ok=True)
        (run.path / file).write_text("kept")
        raise InputError("bad")
    assert (run.path / file).read_text() == "kept"
    assert find_run("auto").path == run.path


def test_a_folder_of_somebody_else_s_is_not_touched():
    theirs = Path("runs") / "mine"
    theirs.mkdir(parents=True)
    (theirs / "notes.txt").write_text("kept")
    with pytest.raises(TakenError, match="choose another name"), new_run("mine", "unused"):
        pass
    assert [path.name for path in theirs.iterdir()] == ["notes.txt"]


def test_a_run_in_training_is_neither_begun_again_nor_resumed_nor_removed():
    with new_run("mine", "unused") as run:
        for begun in (False, True):
            with (
                pytest.raises(TakenError, match=r"another process .* choose another name"),
                new_run("mine", "unused"),
            ):
                pass
            run.recipe.write_text("seed: 0\n")
            assert run.lock.is_file(), begun
        for resume in ("runs/mine", "auto"):
            with (
                pytest.raises(TakenError, match="another process is training there; wait for it"),
                resumed_run(resume),
            ):
                pass
        with pytest.raises(TakenError, match="another process is training there"):
            remove_run(run)
        run.summary.write_text("{}")
    assert run.recipe.is_file()


def test_what_a_killed_process_had_not_written_whole_is_dropped():
    run = start("mine")
    run.evaluation.mkdir()
    for part in (run.path / "data.json.12.part", run.evaluation / "before.json.13.part"):
        part.write_text("{")
    with resumed_run("runs/mine"):
        assert not list(run.path.rglob("*.part"))


def test_a_resumed_run_that_fails_is_kept():
    run = start("mine")
    with pytest.raises(InputError, match="bad"), resumed_run("auto"):
        raise InputError("bad")
    assert run.recipe.is_file()


def test_a_run_is_removed_with_all_that_is_in_it():
    run = start("mine")
    run.evaluation.mkdir()
    (run.evaluation / "before.json").write_text(json.dumps({}))
    remove_run(run)
    assert not run.path.exists()
