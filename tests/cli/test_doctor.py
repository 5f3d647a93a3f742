import json
import shutil
import sys
from importlib.resources import files
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from toolrest.cli import doctor as command
from toolrest.cli.main import app
from toolrest.doctor.check import Check, Section, Status, guarded
from toolrest.doctor.examine import examine
from toolrest.errors import InputError


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return CliRunner().invoke(app, ["doctor", "--no-self-test", *arguments])


def test_the_embedded_run_is_ready(tmp_path):
    result = run("--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["ready"], found["counts"]["problem"]) == (0, True, 0)
    assert [section["name"] for section in found["sections"]] == [
        *("environment", "recipe", "policy", "data", "needs")
    ]
    assert not any(tmp_path.iterdir()), "nothing is left behind"


def test_a_problem_is_told_and_is_the_exit_code():
    result = run("data.path=nowhere.jsonl")
    assert result.exit_code == 1
    assert "PROBLEM data: data nowhere.jsonl: there is no such file" in result.stdout
    assert "mend: data.path=FILE" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("not ready: 1 problem")


def test_a_recipe_that_is_wrong_stops_what_depends_on_it():
    result = run("max_stepz=3")
    assert result.exit_code == 1
    assert "max_stepz" in result.stdout and "policy\n" not in result.stdout


def test_a_gpu_of_choice():
    result = run("--gpu", "rtx4090")
    assert result.exit_code == 0 and "RTX 4090" in result.stdout
    wrong = run("--gpu", "h1oo")
    assert wrong.exit_code == 2 and "h100" in wrong.stderr


@pytest.mark.parametrize(
    ("statuses", "verdict", "code"),
    [
        ([Status.OK, Status.NOTE], "ready: nothing is wrong", 0),
        ([Status.WARNING, Status.UNKNOWN], "1 warning, 1 check that could not be made", 0),
        ([Status.PROBLEM, Status.PROBLEM, Status.WARNING], "not ready: 2 problems, 1 warning", 1),
    ],
)
def test_the_verdict(monkeypatch, statuses, verdict, code):
    section = Section("recipe", tuple(Check("a", status, "b", "c") for status in statuses))
    monkeypatch.setattr("toolrest.doctor.examine.examine", lambda *_, **__: iter([section]))
    result = run()
    assert result.exit_code == code and verdict in result.stdout


def test_in_a_terminal_it_is_a_table_that_fits(capsys):
    from rich.console import Console

    console = Console(force_terminal=True, width=80, no_color=True, legacy_windows=False)
    check = Check("chat template", Status.PROBLEM, "found " * 30, "mend " * 30)
    command._print(Section("policy", (check,)), console)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 5 and max(len(line.rstrip()) for line in lines[1:]) <= 80 + 12


def test_whatever_happens_in_a_check_is_a_line():
    def look(error):
        raise error

    (unknown,) = guarded("x", lambda: look(ZeroDivisionError("by zero\nmore")))
    assert unknown == Check(
        "x", Status.UNKNOWN, "could not be checked (ZeroDivisionError: by zero)"
    )
    (problem,) = guarded("x", lambda: look(InputError("mend it")))
    assert problem == Check("x", Status.PROBLEM, "mend it")


def test_sections_are_announced_and_the_self_test_is_last(monkeypatch):
    monkeypatch.setattr("toolrest.doctor.self_test.run_self_test", lambda recipe: [])
    for name in ("_environment", "_policy", "_data", "_needs"):
        monkeypatch.setattr(sys.modules["toolrest.doctor.examine"], name, lambda *_: [])
    begun = SimpleNamespace(names=[])
    done = [s.name for s in examine(None, [], begins=begun.names.append)]
    assert done == begun.names
    assert done[-1] == "self-test"


@pytest.mark.slow
def test_memory_that_is_not_there_is_a_problem_and_what_is_named_is_enough(tmp_path, monkeypatch):
    """As a run of the same recipe is refused; with the embedded policy's folder as another one."""
    policy = tmp_path / "policy"
    shutil.copytree(str(files("toolrest.world") / "policy"), policy)
    monkeypatch.setattr("toolrest.doctor.estimates.free_memory", lambda: 2.3e9)
    asked = (f"policy={policy}", "optimizer.micro_batch=64")
    result = run(*asked)
    assert result.exit_code == 1 and "PROBLEM memory: " in result.stdout
    assert "note    settings: optimizer.learning_rate=0.0002: " in result.stdout
    assert result.stdout.splitlines()[-1].startswith("not ready: 1 problem")
    (mend,) = (line for line in result.stdout.splitlines() if "what fits: " in line)
    again = run(*asked, *mend.partition("what fits: ")[2].split())
    assert again.exit_code == 0 and "ok      memory: " in again.stdout, again.stdout
    assert "note    time: about " in again.stdout and "ok      replies: " in again.stdout
    short = run(*asked[:1], "rollout.max_response_tokens=8", "optimizer.micro_batch=1")
    assert "warning replies: 64 of 64 are longer than rollout.max_response_tokens=8" in short.stdout


BANK = """
class Bank:
    def reset(self, row, seed):
        from toolrest.environments.base import Start
        if {raises}:
            raise ValueError("no such account")
        return Start(({{"role": "user", "content": "Pay " + str(row["amount"])}},))

    def call(self, calls):
        from toolrest.environments.base import Step
        return Step(tuple((each.name, "paid") for each in calls))
"""


def episodes_of(result):
    (section,) = (s for s in json.loads(result.stdout)["sections"] if s["name"] == "episodes")
    return [(check["status"], check["found"]) for check in section["checks"]]


def test_a_recipe_s_environment_is_played_a_little(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"amount": 5}\n{"amount": 6}\n')
    (tmp_path / "bank.py").write_text(BANK.format(raises=False))
    words = ("environment.source=bank.py:Bank", "data.path=rows.jsonl", "--json")
    result = run(*words)
    assert result.exit_code == 0, result.stdout
    found = episodes_of(result)
    assert ("ok", "equal seeds begin equal episodes (2 rows)") in found
    (tmp_path / "bank.py").write_text(BANK.format(raises="row['amount'] == 5"))
    result = run(*words)
    assert result.exit_code == 1
    (said,) = (text for status, text in episodes_of(result) if status == "problem")
    assert "reset raised ValueError: no such account" in said and "2 of 4 resets fail" in said
    (tmp_path / "rows.jsonl").write_text('{"amount": 5}\n[]\n')
    assert "row 1 cannot be read" in run(*words).stdout


def test_the_chains_are_played_and_limits_are_the_recipe_s():
    result = run("environment.source=world", "data.max_prompt_tokens=40", "--json")
    assert result.exit_code == 1
    assert any("40" in text for status, text in episodes_of(result) if status == "problem")
