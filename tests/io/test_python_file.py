"""A user's file is run as Python runs a module, for tools and for rewards alike."""

import pickle
import sys

import pytest

from toolrest.chat.tools import load_tools
from toolrest.engines.common.guarded_reward import load_reward_function
from toolrest.errors import InputError
from toolrest.io.python_file import run_python_file

DATACLASS = '''
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class City:
    name: str

def weather(name: str) -> str:
    """Weather of a city.

    Args:
        name: Its name.
    """
    return City(name).name

def reward(prompts: list[str], **more) -> list[float]:
    """Of a reply."""
    return [float(len(City(each).name)) for each in prompts]
'''


def test_a_dataclass_with_postponed_annotations(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(DATACLASS)
    assert load_reward_function(f"{path}:reward")(["abc"]) == [3.0]
    path.write_text(DATACLASS.partition("\ndef reward")[0])
    (tool,) = load_tools(path).values()
    assert tool.function("Oslo") == "Oslo"
    assert tool.tool.parameters["properties"] == {
        "name": {"type": "string", "description": "Its name."}
    }


def test_files_of_one_stem_are_two_modules(tmp_path):
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "mine.py"
        path.write_text(f"class Own:\n    of = {name!r}\n")
        made.append(run_python_file(path, "test_of", "--it"))
    assert [module.Own.of for module in made] == ["a", "b"]
    again = [pickle.loads(pickle.dumps(module.Own())) for module in made]
    assert [each.of for each in again] == ["a", "b"]


@pytest.mark.parametrize(
    ("code", "raised"),
    [("1 / 0", InputError), ("exit()", InputError), ("raise KeyboardInterrupt", KeyboardInterrupt)],
)
def test_nothing_is_left_of_a_file_that_fails(tmp_path, code, raised):
    path = tmp_path / "mine.py"
    path.write_text(f"import sys\nassert __name__ in sys.modules\n{code}")
    before = set(sys.modules)
    with pytest.raises(raised):
        run_python_file(path, "test_of", "--it")
    assert not [name for name in set(sys.modules) - before if name.startswith("test_of")]
