import json
import shutil

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app

SMALL = (
    "max_steps=2",
    "save_steps=1",
    "rollout.prompts_per_step=2",
    "rollout.group_size=2",
    "rollout.max_response_tokens=16",
    "evaluation.samples=0",
    "name=made",
)


@pytest.fixture(scope="session")
def made_run(tmp_path_factory):
    """The folder of a run of two steps, its first checkpoint kept alone; made once."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("toolrest.engines.common.data._WORLD_TRAIN_SAMPLES", 64)
        found = CliRunner().invoke(app, ["train", *SMALL, "--quiet"])
    assert found.exit_code == 0, found.output
    run = folder / "runs" / "made"
    (run / "summary.json").unlink()
    (run / "report.html").unlink()
    shutil.rmtree(run / "checkpoints" / "checkpoint-2")
    return run


@pytest.fixture
def run(made_run, tmp_path, monkeypatch):
    """A copy of that run to damage, in the working folder."""
    here = tmp_path / "here"
    shutil.copytree(made_run, here / "runs" / "made")
    monkeypatch.chdir(here)
    monkeypatch.setattr("toolrest.engines.common.data._WORLD_TRAIN_SAMPLES", 64)
    return here / "runs" / "made"


@pytest.fixture
def outside(tmp_path):
    """Files outside of the working folder, and whether they are as they were."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "kept.txt").write_text("kept")

    def untouched():
        assert [each.name for each in folder.iterdir()] == ["kept.txt"]
        assert (folder / "kept.txt").read_text() == "kept"
        assert sorted(each.name for each in tmp_path.iterdir()) == ["here", "outside"]

    yield folder
    untouched()


@pytest.fixture
def says_one_line():
    """Runs a command that must end well or with one line on standard error and exit code 2."""

    def check(*words, codes=(0, 2)):
        found = CliRunner().invoke(app, list(words))
        if found.exit_code == 1 and not isinstance(found.exception, SystemExit | None):
            raise AssertionError(f"{words}: a traceback") from found.exception
        assert found.exit_code in codes, (words, found.exit_code, found.output)
        if found.exit_code == 2:
            assert found.stderr.startswith("toolrest: "), found.stderr
            assert found.stderr.count("\n") == 1, found.stderr
            assert len(found.stderr) < 1500
        return found

    return check


@pytest.fixture
def refit():
    """Writes a checkpoint's sizes anew, so that damage is read and not passed over."""

    def write(checkpoint):
        path = checkpoint / "toolrest_state.json"
        state = json.loads(path.read_text())
        files = [each for each in checkpoint.iterdir() if each != path]
        path.write_text(json.dumps(state | {"files": {f.name: f.lstat().st_size for f in files}}))

    return write
