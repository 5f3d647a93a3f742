"""Reward functions that read `environments`, as TRL's example scripts have them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.core.dialects import ToolCall
from toolrest.environments.base import Ending, EnvironmentFailure
from toolrest.environments.host import Host, Limits
from toolrest.environments.source import check_source
from toolrest.errors import InputError
from toolrest.recipe.reward_file import reads_environments

FILE = Path(__file__).parent / "sources" / "scored.py"
MOVES = [ToolCall("move", {"direction": "up"})] * 2


def ended(kind, reward):
    """What the end of an episode of two moves gives."""
    named = None if reward is None else f"{FILE}:{reward}"
    with Host(f"{FILE}:{kind}", Limits(call_timeout=20), reward=named) as host:
        [episode] = host.start([({"bonus": 0.5}, 0)])
        assert episode.failure is None, episode.failure
        assert episode.call(MOVES).result().errors == 0
        return episode.finish("", Ending.TURNS).result().reward


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "reward", "earned"),
    [
        ("Scored", None, 5.0),  # the number that it keeps
        ("Scored", "score", 2.5),  # which a function that reads it stands for
        ("Scored", "later", 1.0),
        ("Scored", "nothing", 0.0),
        ("Own", "score", 2.75),  # what the class itself gives is added, as in TRL
    ],
)
def test_a_function_that_reads_the_environment_rewards_its_end(kind, reward, earned):
    assert ended(kind, reward) == earned


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("raises", "finish raised KeyError: 'score'"),
        ("too_many", r"finish raised TypeError: too_many gave \[1.0, 2.0\] for one environment"),
        ("no_number", "finish raised ValueError: no_number gave the reward nan"),
    ],
)
def test_one_that_fails_fails_its_episode(reward, said):
    with pytest.raises(EnvironmentFailure, match=said):
        ended("Scored", reward)


def test_which_functions_read_environments_is_seen_without_running_them():
    assert reads_environments(f"{FILE}:score") and reads_environments(f"{FILE}:later")
    assert not reads_environments(f"{FILE}:of_texts")
    with pytest.raises(InputError, match="reads `environments` and `completions`"):
        reads_environments(f"{FILE}:with_texts")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "reads `environments`, but there is no environment; give environment.source"),
        (["environment.source=world"], "environment.source=world has none, so leave it out"),
        ([f"environment.source={FILE}"], "environment.source=scored.py has none"),
    ],
    ids=["none", "world", "functions"],
)
def test_where_there_are_no_objects_it_is_refused_before_a_run(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["train", f"reward.function={FILE}:score", *words])
    assert found.exit_code == 2 and said in " ".join(found.stderr.split()), found.output
    assert not Path("runs").exists()


def test_a_class_inside_of_a_function_is_refused_with_its_place():
    with pytest.raises(InputError, match=r"Inside is inside of the function main in .*line 6\d"):
        check_source(f"{FILE}:Inside")
