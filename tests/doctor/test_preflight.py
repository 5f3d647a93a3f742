"""What is found before anything is spent: a table of mistakes, and that no folder is made."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.doctor.preflight import Place, preflight
from toolrest.engines.trl.checks import EXACT_LOSS_TYPES
from toolrest.errors import InputError
from toolrest.recipe import Recipe
from toolrest.recipe.checks import LOSSES
from toolrest.recipe.extras import REPORTERS, check_extras
from toolrest.recipe.reward_file import check_reward_file
from toolrest.runs.folder import RunFolder

FUNCTION = "def brevity(completions, **rest):\n    return [0.0] * len(completions)\n"
BANK = "raise SystemExit('it was run')\nclass Bank:\n    def reset(self, row, seed): ...\n"
LIGHT = (
    (["report_to=[tensorboard]"], "toolrest[tensorboard]"),
    (["rollout.sampler=vllm"], "toolrest[vllm]"),
    (["reward.function=reward.py:brief"], "did you mean 'brevity'"),
    (["reward.function=none.py:brevity"], "there is no file"),
    (["reward.function=brevity"], "FILE.py:NAME"),
    (["data.path=none.json"], "there is no such file"),
    (["data.path=folder"], "name a file in it"),
    (["data.sources=[{path: a.json, format: mesages}]"], "did you mean 'messages'"),
    (["environment.source=bank.py:Banc"], "did you mean 'Bank'"),
    (["environment.source=none.py:Bank"], "there is no file"),
    (["environment.source=bank.py:pay"], "'pay'"),
    (["environment.source=reward"], "a class or function in a file"),
    (["environment.source=http://127.0.0.1:80"], "toolrest[openenv]"),
    (["environment.source=bfcl"], "bfcl-eval"),
    (["environment.source=bank.py:Bank", "data.path=none.json"], "there is no such file"),
    (["environment.source=bank.py:Bank", "data.path=bad.jsonl"], "row 1 cannot be read"),
    (["policy=runs/nope"], "there is no such folder"),
    (["policy=./nope"], "there is no such folder"),
    (["policy=~/nope"], "there is no such folder"),
    (["policy=folder"], "no config.json"),
    (["policy=some/body"], "hf download some/body"),
    (["engine.sharding=zero2"], "DeepSpeed"),
    (["engine.sharding=ddd"], "did you mean 'ddp'"),
    (["engine.nodes=2"], "TRL's processes"),
    (["optimizer.loss=grop"], "did you mean 'grpo'"),
)
"""Mistakes that are found without torch, and words of what is said."""


@pytest.fixture
def absent(monkeypatch):
    """No optional package is here, and no hub."""
    monkeypatch.setattr("toolrest.recipe.extras.find_spec", lambda name: None)
    monkeypatch.setattr("toolrest.io.hub.why_unreachable", lambda: "there is no network")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("reward.py").write_text(FUNCTION)
    Path("bank.py").write_text(BANK)
    Path("bad.jsonl").write_text('{"amount": 5}\n[]\n')
    Path("folder").mkdir()


@pytest.mark.parametrize(("words", "said"), LIGHT)
def test_a_mistake_is_met_before_a_folder_is_made_and_in_a_dry_run_alike(absent, words, said):
    before = sorted(Path().rglob("*"))
    found = [CliRunner().invoke(app, ["train", *words, *more]) for more in ((), ("--dry-run",))]
    for each in found:
        assert each.exit_code == 2, each.output
        assert each.stderr.startswith("toolrest: ") and each.stderr.count("\n") == 1
        assert said in each.stderr
    assert found[0].stderr == found[1].stderr
    assert sorted(Path().rglob("*")) == before


def test_torch_is_not_imported_for_them():
    code = (
        "import sys\n"
        "from toolrest import io\n"
        "from toolrest.doctor import preflight\n"
        "from toolrest.cli.main import app\n"
        "from toolrest.recipe import extras\n"
        "from typer.testing import CliRunner\n"
        "extras.find_spec = lambda name: None\n"
        "import toolrest.io.hub as hub\n"
        "hub.why_unreachable = lambda: 'there is no network'\n"
        f"for words in {[words for words, _ in LIGHT]!r}:\n"
        "    assert CliRunner().invoke(app, ['train', *words]).exit_code == 2, words\n"
        "    heavy = {'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", sorted(REPORTERS))
def test_each_reporter_needs_its_package(name, monkeypatch):
    recipe = Recipe(report_to=[name])
    monkeypatch.setattr("toolrest.recipe.extras.find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"toolrest.{name}."):
        check_extras(recipe)
    monkeypatch.setattr("toolrest.recipe.extras.find_spec", lambda name: object())
    check_extras(recipe)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FUNCTION, None),
        ("class brevity:\n    pass\n", None),
        ("from json import loads as brevity\n", None),
        ("from json import *\n", None),
        ("import functools\nbrevity = functools.partial(max)\n", None),
        ("try:\n    import nowhere\nexcept ImportError:\n    pass\n" + FUNCTION, None),
        ("import sys\nsys.path.append('.')\nimport nowhere\n" + FUNCTION, None),
        ("if True:\n    def brevity(): pass\n", None),
        # one definition that may be it, under whichever condition, is enough
        (
            "try:\n    from json import dumps as brevity\n"
            "except ImportError:\n    brevity = None\n",
            None,
        ),
        ("brevity = None\n" + FUNCTION, None),
        (FUNCTION + "if not True:\n    brevity = None\n", None),
        ("brevity = None\nif brevity is None:\n    import json as brevity\n", None),
        ("match 1:\n    case 1:\n        def brevity(): pass\n", None),
        ("match max:\n    case brevity:\n        pass\n", None),
        ("match [max]:\n    case [*brevity]:\n        pass\n", None),
        ("for _ in (1,):\n    with open('x') as brevity:\n        pass\n", None),
        ("while True:\n    class brevity: pass\n", None),
        ("print(brevity := max)\n", None),
        ("[brevity] = [max]\n", None),
        ("(a, brevity) = (1, max)\n", None),
        ("def make():\n    global brevity\n    brevity = max\nmake()\n", None),
        ("def __getattr__(name):\n    return max\n", None),
        ("globals()['brevity'] = max\n", None),
        ("import sys\nsetattr(sys.modules[__name__], 'brevity', max)\n", None),
        ("import sys\nsys.modules[__name__].brevity = max\n", None),
        ("exec('brevity = max')\n", None),
        ("if True:\n    from json import *\n", None),
        # where Python looks may have been changed before
        ("from sys import path\npath.insert(0, '.')\nimport nowhere\n" + FUNCTION, None),
        ("from sys import path\npath += ['.']\nimport nowhere\n" + FUNCTION, None),
        ("import sys as s\ns.path[:0] = ['.']\nimport nowhere\n" + FUNCTION, None),
        ("import site\nsite.addsitedir('.')\nimport nowhere\n" + FUNCTION, None),
        ("import sys\nsys.meta_path.append(max)\nimport nowhere\n" + FUNCTION, None),
        ("import sys\nsys.modules['nowhere'] = sys\nimport nowhere\n" + FUNCTION, None),
        ("def f(x=print()): pass\nimport nowhere\n" + FUNCTION, None),
        ("@print\ndef f(): pass\nimport nowhere\n" + FUNCTION, None),
        ("import pytest\nimport nowhere\n" + FUNCTION, None),
        ("if True:\n    import nowhere\n" + FUNCTION, None),
        ("import nowhere.inner\n" + FUNCTION, "imports nowhere, which is not installed"),
        ("'about'\nimport json, re\nimport torch\nN = 3\nimport nowhere\n" + FUNCTION, "nowhere"),
        (FUNCTION + "from nowhere import x\n", "imports nowhere, which is not installed"),
        ("brevity = other = 3\n", "a value"),
        ("brevity: list = []\nif True:\n    brevity = None\n", "a value"),
        ("class Other:\n    def brevity(self): pass\n", "known: Other"),
        ("def make():\n    brevity = max\n", "known: make"),
        ("from nowhere import x\n" + FUNCTION, "imports nowhere, which is not installed"),
        ("brevity = 3\n", "a value"),
        ("", "defines no function"),
        ("import json\nfrom os import path\n", "defines no function"),
        ("".join(f"def f{n}(): pass\n" for n in range(9)) + "def brevty(): pass\n", "'brevty'"),
        ("from os import path, walk\ndef brevty(): pass\n", "known: brevty"),
        ("def other():\n    def brevity(): pass\n", "known: other"),
        ("def brevity(:\n", "line 1"),
        ("x = '\\d'\n\0", "not Python|cannot be read"),
    ],
)
def test_a_reward_file_is_read_and_not_run(text, said, recwarn):
    Path("mine.py").write_text(text)
    if said is None:
        check_reward_file("mine.py:brevity")
    else:
        with pytest.raises(InputError, match=said):
            check_reward_file("mine.py:brevity")
    assert not recwarn.list


def test_a_reward_file_is_not_run():
    Path("mine.py").write_text("open('ran', 'w')\n" + FUNCTION)
    check_reward_file("mine.py:brevity")
    assert not Path("ran").exists()


def test_a_disk_without_room_is_refused(monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    found = CliRunner().invoke(app, ["train"])
    assert found.exit_code == 2 and "the disk has no room for 3 checkpoints" in found.stderr
    assert not list(Path("runs").glob("*"))


def test_a_run_that_goes_on_has_room_for_what_it_has_already(monkeypatch):
    run = RunFolder(Path("elsewhere") / "run")
    for step in (10, 20):
        folder = run.checkpoints / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "toolrest_state.json").write_text("{}")
    recipe = Recipe(max_steps=30, save_steps=10)
    usage = type("Usage", (), {"free": 12 * 1_200_000})  # of one checkpoint
    asked = []
    monkeypatch.setattr("shutil.disk_usage", lambda path: asked.append(path) or usage)
    with pytest.raises(InputError, match="no room for 3 checkpoints"):
        preflight(recipe)
    preflight(recipe, place=Place(run.path, run=run))
    assert asked == [Path.cwd(), run.path.resolve()]


def test_the_folder_that_is_looked_at_is_the_one_that_is_written_in(monkeypatch):
    monkeypatch.setattr(
        "toolrest.runs.claims.os.access", lambda path, mode: "locked" not in path.parts
    )
    Path("locked").mkdir()
    found = CliRunner().invoke(app, ["compare", "--out", "locked/out"])
    assert found.exit_code == 2 and "use another --out" in found.stderr
    assert "locked cannot be written" in found.stderr
    Path("runs").write_text("")
    monkeypatch.setattr("toolrest.experiments.plan.keep_plan", lambda *a: 1 / 0)
    found = CliRunner().invoke(app, ["compare", "--out", "out"])
    assert isinstance(found.exception, ZeroDivisionError), found.output


def test_a_comparison_that_goes_on_leaves_the_disk_to_its_runs(monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    command = ["compare", "--out", "out"]
    assert "the disk has no room" in CliRunner().invoke(app, command).stderr
    Path("out").mkdir()
    Path("out/compare.yaml").write_text("methods: 3")
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 2 and "compare.yaml" in found.stderr, found.output


def test_a_file_where_runs_should_be():
    Path("runs").write_text("")
    found = CliRunner().invoke(app, ["train", "--dry-run"])
    assert found.exit_code == 2 and "is a file" in found.stderr


def test_losses_are_those_that_weigh_tokens():
    assert {*LOSSES, "luspo"} == set(EXACT_LOSS_TYPES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lora.rank=2", "lora.target_modules=[q_prjo]"), "did you mean 'q_proj'"),
        (("warm_start.method=sft", "data.path=rows.jsonl"), "no row has a demonstration"),
    ],
)
def test_what_the_policy_or_the_rows_lack_is_met_before_the_first_evaluation(
    words, said, monkeypatch
):
    monkeypatch.setattr("toolrest.policy.adapters.find_spec", lambda name: object())
    monkeypatch.setattr("toolrest.recipe.extras.find_spec", lambda name: object())
    row = (
        '{"prompt": [{"role": "user", "content": "q"}], "reward_model": {"ground_truth": '
        '"<think> t </think>\\n<response> r </response>"}}\n'
    )
    Path("rows.jsonl").write_text(row * 4)
    monkeypatch.setattr(
        "toolrest.evaluate.of_run.RunEvaluation.whole", lambda *a: pytest.fail("evaluated")
    )
    small = ("rollout.prompts_per_step=1", "rollout.group_size=2", "max_steps=1")
    found = CliRunner().invoke(app, ["train", *small, *words])
    assert found.exit_code == 2 and said in found.stderr, found.output
    assert not list(Path("runs").glob("*"))
