"""What is released: the wheel and the source archive, built, checked, and used where nothing else
of the project is.
"""

import os
import re
import subprocess
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import toolrest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOOLS = ("build", "hatchling", "twine")


def call(*words, cwd, check=True):
    """What a command prints, in an environment that knows nothing of this checkout."""
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env=known | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def built(made_once):
    """(wheel, source archive, the Python that has twine); the wheel is built from the archive."""

    def make(home):
        venv.create(home / "tools", with_pip=True)
        python = home / "tools" / "bin" / "python"
        got = call(python, "-m", "pip", "install", "--quiet", *TOOLS, cwd=home, check=False)
        if got.returncode:
            pytest.skip(f"no {', '.join(TOOLS)} to be had: {got.stderr[-300:]}")
        call(python, "-m", "build", "--no-isolation", "--outdir", home / "dist", ROOT, cwd=home)

    home = made_once("build", make, copied=False)
    (wheel,), (archive,) = home.glob("dist/*.whl"), home.glob("dist/*.tar.gz")
    return wheel, archive, home / "tools" / "bin" / "python"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The commands of an environment with the wheel, and this one's packages behind it."""
    wheel, _, tools = built
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    [own] = home.glob("lib/python*/site-packages")
    (own / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n")
    call(
        *(tools, "-m", "pip", "--python", home / "bin" / "python", "install", "--quiet"),
        *("--no-deps", "--no-index", "--ignore-installed", wheel),
        cwd=home,
    )
    return home / "bin"


def test_the_version_is_one():
    assert toolrest.__version__ == PROJECT["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest is None or newest[1].strip("[]") in (PROJECT["version"], "Unreleased")


def test_python_versions_are_those_that_are_tried():
    """The quick tests pass with these (docs/releasing.md has how); a classifier says no more."""
    prefix = "Programming Language :: Python :: 3."
    named = {each.removeprefix(prefix) for each in PROJECT["classifiers"] if prefix in each}
    assert named == {"11", "13"}
    assert PROJECT["requires-python"] == ">=3.11"


@pytest.mark.slow
def test_twine_takes_both(built):
    wheel, archive, python = built
    said = call(python, "-m", "twine", "check", "--strict", wheel, archive, cwd=wheel.parent).stdout
    assert said.count("PASSED") == 2


@pytest.mark.slow
def test_both_hold_what_is_needed_and_no_more(built):
    wheel, archive, _ = built
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        (told,) = [each for each in names if each.endswith(".dist-info/METADATA")]
        metadata = message_from_string(files.read(told).decode())
    package = ROOT / "src" / "toolrest"
    source = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    source |= {f"toolrest/recipes/{path.name}" for path in ROOT.glob("recipes/*.yaml")}
    assert {name for name in names if ".dist-info/" not in name} == source
    policies = {
        f"toolrest/world/{name}/model.safetensors"
        for name in ("policy", "chain_policy", "thought_policy")
    }
    assert {"toolrest/py.typed"} | policies <= names
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("Project-URL") == [
        f"{name}, {address}" for name, address in PROJECT["urls"].items()
    ]
    with tarfile.open(archive) as files:
        held = {name.partition("/")[2] for name in files.getnames()}
    needed = {"README.md", "LICENSE", "pyproject.toml", "tests/conftest.py", "docs/use.md"}
    needed |= {"scripts/make_venv.sh", "scripts/add_tools.sh", "CONTRIBUTING.md"}
    assert needed <= held
    assert not [name for name in held if ".venv" in name or "__pycache__" in name]


@pytest.mark.slow
def test_it_is_used_where_nothing_else_of_the_project_is(installed, tmp_path):
    """From an empty folder: the commands of the README, from training to taking away."""
    where = call(
        installed / "python", "-c", "import toolrest; print(toolrest.__file__)", cwd=tmp_path
    )
    assert Path(where.stdout.strip()).is_relative_to(installed.parent)
    command = installed / "toolrest"
    assert call(command, "--version", cwd=tmp_path).stdout.strip() == PROJECT["version"]
    few = ("rollout.prompts_per_step=2", "rollout.group_size=4", "evaluation.samples=4")
    call(command, "train", "name=one", "max_steps=2", *few, "--quiet", cwd=tmp_path)
    run = tmp_path / "runs" / "one"
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    said = call(command, "evaluate", "runs/one", "--on", "world", "--limit", "2", cwd=tmp_path)
    assert "world" in said.stdout
    call(command, "report", "runs/one", "--output", "page.html", cwd=tmp_path)
    assert "<html" in (tmp_path / "page.html").read_text()
    call(command, "export", "runs/one", "--to", "out", cwd=tmp_path)
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"toolrest {PROJECT['version']}" in card
    call(command, "inspect", "runs/one", cwd=tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["out", "page.html", "runs"]
    assert "-dirty" not in (run / "environment.json").read_text()


@pytest.mark.slow
def test_the_modules_of_verl_are_found_by_their_entry_point(installed, tmp_path):
    code = (
        "from importlib.metadata import entry_points;"
        "print([e.value for e in entry_points(group='verl.plugins')])"
    )
    said = call(installed / "python", "-c", code, cwd=tmp_path).stdout
    assert "toolrest.engines.verl.plugin" in said
