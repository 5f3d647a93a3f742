import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from forking import Forking
from hypothesis import settings
from tiers import Tiers, mark_release

# For `make test` and `make test-slow`, which draw the same examples each time, so that a change is
# judged by itself; `make test-release` and pytest alone draw new ones.
settings.register_profile("quick", deadline=None, max_examples=20, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=60, derandomize=True)
settings.register_profile("release", deadline=None, max_examples=500)
settings.register_profile("toolrest", deadline=None, max_examples=100)
settings.load_profile("toolrest")


TIERS = pytest.StashKey[Tiers]()


def pytest_collection_modifyitems(config, items):
    config.stash[TIERS] = mark_release(items)


@pytest.fixture
def tiers(request) -> Tiers:
    """What this process has collected of each tier."""
    return request.config.stash[TIERS]


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    """Nothing that tests keep stays in the user's cache folder; processes that they start too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, request):
    """made_once(name, make): a copy of the folder that `make(folder)` fills. Of pytest's processes
    one makes it; the others wait and copy. `copied=False`: that folder itself, to be read alone.
    """
    home = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        home = home.parent

    def made(name, make, copied=True):
        kept, begun = home / f"made-{name}", home / f"making-{name}"
        with FileLock(home / f"{name}.lock"):
            if not kept.exists():
                shutil.rmtree(begun, ignore_errors=True)
                begun.mkdir()
                make(begun)
                begun.rename(kept)
        if not copied:
            return kept
        mine = tmp_path_factory.mktemp(name) / "it"
        shutil.copytree(kept, mine, symlinks=True)
        return mine

    return made


@pytest.fixture(scope="session")
def forking(cache_of_the_tests):
    """`toolrest` in processes that are forked from one that has imported everything."""
    with Forking() as server:
        yield server


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the real RLLA files."""
    if not os.environ.get("TOOLREST_DATA"):
        pytest.skip("TOOLREST_DATA does not name the folder with the RLLA files")
    folder = Path(os.environ["TOOLREST_DATA"])
    assert (folder / "rlla_test.parquet").is_file(), f"no rlla_test.parquet in {folder}"
    return folder


@pytest.fixture(scope="session")
def embedded_tokenizer():
    from toolrest.policy.tokenizer import load_tokenizer
    from toolrest.recipe import Recipe

    return load_tokenizer(Recipe())


@pytest.fixture
def embedded_model():
    from toolrest.policy.weights import load_policy
    from toolrest.recipe import Recipe

    return load_policy(Recipe())


@pytest.fixture(scope="session")
def acting_run(made_once) -> Path:
    """The folder of a run of one step in the embedded chains; `printed` beside it is what was said.
    Tests that write into it copy it.
    """
    from typer.testing import CliRunner

    from toolrest.cli.main import app

    settings = ["environment.source=world", "max_steps=1", "rollout.prompts_per_step=4"]
    settings += ["rollout.group_size=4", "evaluation.samples=8", "name=acting"]

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            done = CliRunner().invoke(app, ["train", *settings], env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        (folder / "printed").write_text(done.output)

    return made_once("acting", make) / "runs" / "acting"
