"""A user's reward function and its faults."""

import sys
import time

import pytest

from toolrest.engines.common.guarded_reward import GuardedReward, RewardError, load_reward_function
from toolrest.engines.common.ranks import Ranks
from toolrest.errors import InputError

TWO = ["a", "b"]


def raises(completions, **columns):
    raise KeyError("ground_truth")


FAULTS = [
    (lambda completions, **columns: None, "returned NoneType, not a list of 2 numbers"),
    (lambda completions, **columns: "ab", "returned str"),
    (lambda completions, **columns: [1.0], "returned 1 rewards for 2 responses"),
    (lambda completions, **columns: [1.0, "x"], "returned 'x' for response 1"),
    (lambda completions, **columns: [True, 1.0], "returned True for response 0"),
    (lambda completions, **columns: [1.0, float("nan")], "returned nan for response 1"),
    (raises, "raises raised KeyError: 'ground_truth'"),
    (lambda completions, **columns: sys.exit(0), "raised SystemExit: 0"),
    (lambda completions, **columns: time.sleep(5), r"has not answered for 0\.05 s"),
]


def limit_of(text):
    """Seconds: short where none comes, long where another fault is to be found first."""
    return 0.05 if "answered" in text else 20


def test_a_sound_function_is_called_as_it_is():
    seen = {}

    def reward(completions, **columns):
        seen.update(columns)
        return [1, None]

    assert GuardedReward(reward)(completions=TWO, ground_truth=["x", "y"]) == [1.0, None]
    assert seen == {"ground_truth": ["x", "y"]}
    assert GuardedReward(reward).__name__ == "reward"


@pytest.mark.parametrize(("function", "text"), FAULTS)
def test_faults_stop(function, text):
    with pytest.raises(RewardError, match=text):
        GuardedReward(function, timeout=limit_of(text))(completions=TWO)


@pytest.mark.parametrize(("function", "text"), FAULTS)
def test_faults_are_said_and_skipped(function, text):
    said = []
    reward = GuardedReward(function, "skip", limit_of(text), said.append)
    assert reward(completions=TWO) == [0.0, 0.0]
    assert len(said) == 1


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((None, None, None), None),
        ((None, "theirs", "others"), "theirs"),
        (("mine", None, "others"), "mine"),
        ((None, None, "others"), "others"),
    ],
)
def test_the_first_fault_of_any_process_is_everyone_s(found, said):
    told = []

    class Three(Ranks):
        def each(self, value):
            told.append(value)
            return list(found)

    reward = GuardedReward(lambda completions, **columns: [1.0, 2.0], ranks=Three(0, 3))
    if said is None:
        assert reward(completions=TWO) == [1.0, 2.0]
    else:
        with pytest.raises(RewardError, match=said):
            reward(completions=TWO)
    assert told == [None], "what went wrong here, nothing, is told to the others"


def test_a_function_is_loaded_by_its_file_and_name(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def polite(completions, **columns):\n    return [1.0 for _ in completions]\n")
    assert load_reward_function(f"{path}:polite")(TWO) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("content", "named", "text"),
    [
        ("x = 1", "{path}:polite", "has no function polite"),
        ("x = 1", "{path}:x", "has no function x"),
        ("1 / 0", "{path}:x", "ZeroDivisionError"),
        ("def (", "{path}:x", "SyntaxError"),
        ("import sys\nsys.exit(0)\ndef x(): ...", "{path}:x", "SystemExit"),
        ("x = 1", "{path}", r"written FILE\.py:NAME"),
        ("x = 1", "nowhere.py:x", "no file nowhere.py"),
    ],
)
def test_functions_that_cannot_be_loaded_are_named(tmp_path, content, named, text):
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(InputError, match=text):
        load_reward_function(named.format(path=path))


@pytest.mark.parametrize("named", ["{path}.txt:polite", "{path}.py", "polite", ":polite"])
def test_a_file_and_a_name_are_both_needed(tmp_path, named):
    """Files of both endings are there; what is not written so is not looked for."""
    for ending in ("txt", "py"):
        (tmp_path / f"mine.{ending}").write_text("def polite(completions):\n    return []\n")
    with pytest.raises(InputError, match=r"written FILE\.py:NAME"):
        load_reward_function(named.format(path=tmp_path / "mine"))
