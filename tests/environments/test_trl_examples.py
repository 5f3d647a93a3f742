"""The environments of TRL's example scripts train as they are: TOOLREST_TRL names a checkout.

Classes inside of a script's `main`, and scripts whose client comes from a Space on the hub and
speaks with a server there, are skipped with that reason.
"""

import ast
import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.environments.source import check_source
from toolrest.errors import InputError

CHECKOUT = os.environ.get("TOOLREST_TRL", "")
NONE = "TOOLREST_TRL does not name a checkout of TRL (github.com/huggingface/trl)"
pytestmark = pytest.mark.slow


def named(call, argument):
    """The names that are given as an argument of a call: its own, or those of a list."""
    values = [each.value for each in call.keywords if each.arg == argument]
    values = [item for each in values for item in getattr(each, "elts", [each])]
    return [each.id for each in values if isinstance(each, ast.Name)]


def examples():
    """(script, class, its reward functions) of every script with an environment's class."""
    for script in sorted(Path(CHECKOUT).glob("examples/scripts/**/*.py")) if CHECKOUT else ():
        tree = ast.parse(script.read_text(encoding="utf-8"))
        classes = {each.name for each in ast.walk(tree) if isinstance(each, ast.ClassDef)}
        for call in [each for each in ast.walk(tree) if isinstance(each, ast.Call)]:
            for kind in named(call, "environment_factory"):
                if kind in classes:
                    yield script, kind, named(call, "reward_funcs")


def absent(script):
    """The packages that a script imports at its top, and that are not here."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    names = [
        alias.name for each in tree.body if isinstance(each, ast.Import) for alias in each.names
    ]
    names += [each.module for each in tree.body if isinstance(each, ast.ImportFrom) and each.module]
    packages = sorted({name.partition(".")[0] for name in names})
    return [each for each in packages if find_spec(each) is None]


EXAMPLES = [pytest.param(*each, id=f"{each[0].stem}-{each[1]}") for each in examples()] or [
    pytest.param(None, None, None, marks=pytest.mark.skip(NONE))
]


@pytest.mark.parametrize(("script", "kind", "rewards"), EXAMPLES)
def test_an_example_trains_for_three_steps(script, kind, rewards, tmp_path, monkeypatch):
    try:
        check_source(f"{script}:{kind}")
    except InputError as error:
        assert "is inside of the function main" in str(error)
        pytest.skip(f"{kind} is made inside of main, of the script's arguments")
    if missing := absent(script):
        pytest.skip(f"needs {', '.join(missing)}: a client from the hub, and its server there")
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text(3 * (json.dumps({"prompt": "Play."}) + "\n"))
    words = [f"environment.source={script}:{kind}", f"reward.function={script}:{rewards[0]}"]
    sizes = ["rollout.prompts_per_step=2", "rollout.group_size=2", "rollout.max_response_tokens=48"]
    few = ["environment.max_turns=2", "max_steps=3", "evaluation.samples=2", "name=run"]
    data = ["data.path=rows.jsonl", "data.heldout_fraction=0.4"]
    found = CliRunner().invoke(app, ["train", *words, *sizes, *few, *data, "--quiet"])
    assert found.exit_code == 0, found.output
    steps = [json.loads(line) for line in Path("runs/run/metrics.jsonl").read_text().splitlines()]
    assert [step["ending/failed"] for step in steps] == [0.0] * 3
    assert all("reward" in step for step in steps)


@pytest.mark.skipif(not CHECKOUT, reason=NONE)
def test_the_one_without_a_server_is_among_them_and_plays():
    from toolrest.core.dialects import ToolCall
    from toolrest.environments.base import Ending
    from toolrest.environments.host import Host, Limits

    [(script, kind, [reward])] = [each for each in examples() if each[0].stem == "grpo_2048"]
    limits = Limits(call_timeout=60)
    with Host(f"{script}:{kind}", limits, reward=f"{script}:{reward}") as host:
        [episode] = host.start([({"prompt": "Play."}, 0)])
        assert episode.failure is None, episode.failure
        moves = [ToolCall("move", {"direction": each}) for each in ("up", "left", "down", "right")]
        for _ in range(8):
            texts = [text for _, text in episode.call(moves).result().results]
        assert "score=" in texts[-1]
        score = float(texts[-1].partition("\n")[0].removeprefix("score="))
        assert score > 0 and episode.finish("", Ending.TURNS).result().reward == score
