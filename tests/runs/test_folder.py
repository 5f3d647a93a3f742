import json
from pathlib import Path

import pytest

from toolrest.errors import InputError
from toolrest.io.files import write_whole
from toolrest.runs.folder import RunFolder, rollouts_file, steps_before


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def start(name):
    run = RunFolder(Path("runs") / name)
    run.path.mkdir(parents=True)
    run.recipe.write_text("seed: 0\n")
    return run


def test_a_checkpoint_that_was_cut_off_does_not_count():
    run = start("a")
    for step, whole in ((2, True), (10, True), (12, False)):
        folder = run.checkpoints / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if whole:
            (folder / "toolrest_state.json").write_text("{}")
    last = run.last_checkpoint()
    assert last is not None
    assert last.name == "checkpoint-10"


def test_rewinding_drops_what_came_later_and_a_torn_line():
    run = start("a")
    lines = [json.dumps({"step": step}) + "\n" for step in (1, 2, 3)]
    run.metrics.write_text("".join(lines) + '{"step": 4, "rew')
    run.rollouts.mkdir()
    for step in (0, 1, 2, 3):
        (run.rollouts / f"step-{step:06d}.jsonl").write_text("{}\n")
    run.rewind(2)
    assert run.metrics.read_text() == "".join(lines[:2])
    assert sorted(p.name for p in run.rollouts.iterdir()) == [
        "step-000000.jsonl",
        "step-000001.jsonl",
    ]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_whole(path, "one \ud800")
    assert path.read_text() == "one ?"

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "two")
    assert path.read_text() == "one ?"


def test_the_folder_s_layout(tmp_path):
    run = RunFolder(tmp_path)
    assert run.recipe.name == "recipe.yaml"
    assert run.last_checkpoint() is None


def checkpoint(run, step, **sizes):
    folder = run.checkpoints / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in sizes:
        (folder / name).write_bytes(b"1234")
    (folder / "toolrest_state.json").write_text(json.dumps({"files": sizes}))
    return folder


def test_a_checkpoint_with_a_file_of_another_size_does_not_count():
    run = start("a")
    whole = checkpoint(run, 2, model=4, optimizer=4)
    checkpoint(run, 4, model=4, optimizer=5)
    missing = checkpoint(run, 6, model=4, optimizer=4)
    (missing / "optimizer").unlink()
    assert run.last_checkpoint() == whole


@pytest.mark.parametrize("state", ["", "[]", '{"files": 3}', '{"files": {"model": "4"}}', "nul"])
def test_a_checkpoint_whose_state_is_none_does_not_count(state):
    run = start("a")
    folder = checkpoint(run, 2, model=4)
    (folder / "toolrest_state.json").write_text(state)
    assert run.last_checkpoint() is None


def test_rewinding_removes_what_was_not_written_whole():
    run = start("a")
    whole = checkpoint(run, 2, model=4)
    checkpoint(run, 4, model=5)
    checkpoint(run, 6, model=4)
    (run.path / "metrics.jsonl.part").write_text("x")
    run.evaluation.mkdir()
    (run.evaluation / "after.json.part").write_text("x")
    (run.path / "warm_start.part").mkdir()
    run.rewind(4)
    assert list(run.checkpoints.iterdir()) == [whole]
    assert sorted(p.name for p in run.path.rglob("*.part")) == []


def test_a_broken_line_before_the_last_is_named():
    run = start("a")
    run.metrics.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl: a broken line"):
        run.rewind(1)


def test_a_run_s_seconds_go_on():
    run = start("a")
    assert run.seconds() == 0.0
    run.metrics.write_text('{"step": 1, "seconds": 2.5}\n{"step": 2, "secon')
    assert run.seconds() == 2.5


def test_one_process_trains_in_a_folder():
    run = start("a")
    with (
        run.held(),
        pytest.raises(InputError, match="another process is training there"),
        RunFolder(run.path).held(),
    ):
        pass


def test_what_still_works_for_a_process_that_was_killed_keeps_others_out():
    run = start("a")
    with run.worked_in():
        with pytest.raises(InputError, match="another process is training there"), run.held():
            pass
        with pytest.raises(InputError, match="another process"), RunFolder(run.path).worked_in():
            pass
    with run.held():
        pass
    with run.held(), run.worked_in():
        pass


@pytest.mark.parametrize(
    ("file", "used"),
    [
        ("lock", False),
        ("worker.lock", False),
        ("recipe.yaml", False),
        ("environment.json", False),
        ("data.json", False),
        ("warnings.jsonl", False),
        ("verl/train.parquet", False),
        ("metrics.jsonl.12.part", False),
        ("warm_start.part/model.safetensors", False),
        ("evaluation/", False),
        ("metrics.jsonl", True),
        ("evaluation/before.json", True),
        ("rollouts/step-000000.jsonl", True),
        ("incidents/step-000001.json", True),
        ("warm_start/model.safetensors", True),
        ("checkpoints/checkpoint-2/model.safetensors", True),
        ("verl/log.txt", True),
        ("evaluation/lock", True),
        ("notes.txt", True),
    ],
)
def test_what_was_done_is_told_from_what_is_made_again(tmp_path, file, used):
    path = tmp_path / file
    if file.endswith("/"):
        path.mkdir()
    else:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
    assert RunFolder(tmp_path).is_used() is used


def test_a_link_is_the_user_s(tmp_path):
    (tmp_path / "evaluation").symlink_to(tmp_path)
    assert RunFolder(tmp_path).is_used()


def test_two_changed_trees_of_one_commit_are_two_sources(tmp_path, monkeypatch):
    from toolrest.runs import environment

    for name, text in (("one", "a = 1"), ("two", "a = 2"), ("again", "a = 1")):
        (tmp_path / name / "rewards").mkdir(parents=True)
        (tmp_path / name / "runs").mkdir()
        (tmp_path / name / "runs" / "environment.py").write_text("")
        (tmp_path / name / "rewards" / "score.py").write_text(text)
    found = []
    for name in ("one", "two", "again"):
        monkeypatch.setattr(
            environment, "__file__", str(tmp_path / name / "runs" / "environment.py")
        )
        found.append(environment.describe_environment(0)["source"])
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize("old", [False, True])
def test_rollouts_are_named_by_the_step_that_is_on_them(old):
    """Runs of earlier versions began with step 0, and are read and gone on with as they are."""
    run = start("a")
    run.rollouts.mkdir()
    for step in range(1, 4):
        name = f"step-{step - old:06d}.jsonl"
        (run.rollouts / name).write_text("{}\n")
    assert rollouts_file(run.rollouts, 3).is_file()
    assert not rollouts_file(run.rollouts, 4).exists()
    run.rewind(2)
    assert rollouts_file(run.rollouts, 2).is_file()
    assert not rollouts_file(run.rollouts, 3).exists()


def test_what_was_done_before_a_rollout():
    assert steps_before({"step": 3, "steps_done": 2}) == steps_before({"step": 2}) == 2
    assert steps_before({}) == steps_before({"step": "x"}) == 0
