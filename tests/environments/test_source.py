"""A wrong source is one line that says what, where and how to mend it; nothing is run for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from toolrest.environments import source as source_module
from toolrest.environments.host import Host
from toolrest.environments.source import check_source, find_source
from toolrest.errors import InputError

FILE = """
raise SystemExit("this file was run")
from elsewhere import Imported
class Bank:
    def reset(self, row, seed): ...
    def call(self, calls): ...
class Child(Imported): pass
class Wrong:
    def step(self): ...
def add(a: int) -> int: ...
def _hidden(): ...
if True:
    class Inside:
        async def reset(self, **row): ...
Assigned = Bank
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bank.py").write_text(FILE)
    (tmp_path / "broken.py").write_text("class Bank:\n  def reset(self: pass\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "classes.py").write_text("class Bank:\n    def reset(self, row, seed): ...\n")
    (tmp_path / "any.py").write_text("from elsewhere import *\n")
    (tmp_path / "folder.py").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("bank.py", ()),
        *((f"bank.py:{n}", (n,)) for n in ("Bank", "Child", "Imported", "add", "Inside")),
        ("bank.py:Assigned", ("Assigned",)),
        ("any.py:Whatever", ("Whatever",)),
    ],
)
def test_what_may_be_there_is_accepted_without_running_it(folder, text, names):
    found = check_source(text)
    assert (found.kind, found.names) == ("file", names)
    assert found.place == str(folder / text.partition(":")[0]) and found.label == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bank.py:Bnk", "unknown class or function 'Bnk': did you mean 'Bank'? known: "),
        ("bank.py:Wrong", "the class Wrong in bank.py has no method `reset`"),
        ("bnk.py:Bank", "there is no file bnk.py"),
        ("folder.py:Bank", "folder.py is a folder; name the .py file in it"),
        ("broken.py:Bank", "broken.py is not Python (line 2: "),
        ("empty.py:Bank", "empty.py defines no class or function; add Bank"),
        ("empty.py", "empty.py has no public functions; each is a tool"),
        ("classes.py", "classes.py has no functions; its class is classes.py:Bank"),
        ("bank.py:", "it is a class or function in a file (bank.py:Bank)"),
        ("bank.py:a b", "it is a class or function in a file (bank.py:Bank)"),
        ("bank.txt:Bank", "it is a class or function in a file (bank.py:Bank)"),
        ("wrold", "it is a class or function in a file (bank.py:Bank)"),
        ("", "it is a class or function in a file (bank.py:Bank)"),
        ("ftp://host", "an OpenEnv server's address is as http://127.0.0.1:8000"),
        ("http://", "an OpenEnv server's address is as http://127.0.0.1:8000"),
        ("http://host:99999", "an OpenEnv server's address is as http://127.0.0.1:8000"),
        ("~nobody_here/bank.py:Bank", "there is no such file or folder"),
        ("a\0.py:Bank", "there is no such file or folder"),
    ],
)
def test_what_is_wrong_is_one_line(folder, text, said):
    with pytest.raises(InputError) as error:
        check_source(text)
    assert str(error.value).startswith("environment.source=")
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "package", "said"),
    [
        ("http://127.0.0.1:8000", "openenv", "pip install 'toolrest[openenv]'"),
        ("bfcl", "bfcl_eval", "pip install --no-deps bfcl-eval"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_command(monkeypatch, text, package, said):
    there = source_module.find_spec
    monkeypatch.setattr(
        source_module, "find_spec", lambda name: None if name == package else there(name)
    )
    with pytest.raises(InputError, match="needs the package") as error:
        check_source(text)
    assert said in str(error.value)
    monkeypatch.setattr(source_module, "find_spec", lambda name: object())
    assert check_source(text).label == text


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ("import nothing_of_that_name\ndef f(): ...", "f", "ModuleNotFoundError"),
        ("raise SystemExit(3)\ndef f(): ...", "f", "SystemExit: 3"),
        ("def f(a):\n    '''Do.'''", "f", "f needs type hints"),
        ("def f(a: int):\n    pass", "f", "f needs type hints, and a docstring"),
        ("class A:\n    def __init__(self, x): ...\n    def reset(self): ...", "A", "is made with"),
        ("class A:\n    def reset(self): ...", "A", "has no method that is a tool"),
        ("class A:\n    def reset(self): ...\n    def f(self, x): ...", "A", "f has no docstring"),
        ("class B: ...\nclass A(B): ...", "A", "has no method `reset`"),
        ("class B:\n    def reset(self): ...\nA = B()", "A", "neither a class nor a function"),
        ("import os\nos._exit(5)\ndef f(): ...", "f", "ended with code 5"),
    ],
)
def test_what_shows_as_it_is_run_is_one_line(tmp_path, content, name, said):
    file = tmp_path / "a.py"
    file.write_text(content)
    with pytest.raises(InputError) as error:
        Host(f"{file}:{name}")
    assert said in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).startswith(f"environment.source=a.py:{name}: ")


def test_a_file_may_import_its_neighbours(tmp_path):
    (tmp_path / "neighbour_of_a.py").write_text("GREETING = 'Hello'\n")
    (tmp_path / "a.py").write_text(
        "from neighbour_of_a import GREETING\n"
        "from toolrest.environments.base import Start\n"
        "class A:\n"
        "    def reset(self, row, seed): return Start(({'role': 'user', 'content': GREETING},))\n"
        "    def call(self, calls): ...\n"
    )
    with Host(f"{tmp_path / 'a.py'}:A") as host:
        [episode] = host.start([({}, 0)])
        assert episode.start.messages == ({"role": "user", "content": "Hello"},)


SCRIPT = """
from toolrest.environments.base import Start
from toolrest.environments.host import Host
class A:
    def reset(self, row, seed): return Start(({{"role": "user", "content": __name__}},))
    def call(self, calls): ...
def main():
    with Host(A) as host:
        [episode] = host.start([({{}}, 0)])
        print(episode.pid is not None, episode.start.messages[0]["content"])
{guard}main()
"""


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ("if __name__ == '__main__': ", "True environment_of_script"),
        ("", "put the script's work under `if __name__"),
    ],
)
def test_a_class_of_a_script_is_had_by_running_its_file(tmp_path, guard, said):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(guard=guard))
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    last = (ran.stdout + ran.stderr).strip().splitlines()[-1]
    assert said in last, ran.stderr


def test_objects_are_found_by_module_or_kept():
    found = find_source(Path)
    assert found.kind == "module" and found.names == ("Path",) and found.live == ()

    class Local: ...

    assert find_source(Local).live == (Local,)
    assert find_source([len, print]).names == ("len", "print")
