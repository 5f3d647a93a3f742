"""Help and completion of every command."""

import os
import re
import resource
import subprocess
import sys

import pytest
import typer
from printed import parsed
from typer.testing import CliRunner

from toolrest.cli.main import app

ROOT = typer.main.get_command(app)
COMMANDS = [
    *((name,) for name in ROOT.commands),
    *(("data", name) for name in ROOT.commands["data"].commands),
]


def helped(*words):
    done = CliRunner().invoke(app, [*words], env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("command", [(), *COMMANDS], ids=" ".join)
def test_every_command_has_short_help_and_examples_that_parse(command):
    text = helped(*command, "-h")
    assert text == helped(*command, "--help")
    lines = [line.strip() for line in text.split("Examples:")[1].splitlines()]
    shown = [line for line in lines if line.startswith("toolrest ")]
    assert 1 <= len(shown) <= 2
    for line in shown:
        words = re.findall(r"'([^']*)'|(\S+)", line)
        words = [quoted or bare for quoted, bare in words][1:]
        assert words[: len(command)] == list(command)
        parsed(words)


def test_an_option_that_is_not_there_does_not_parse():
    """Else the test above could not fail."""
    with pytest.raises(Exception, match="--nothing"):
        parsed(["train", "--nothing"])


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("toolrest tr", "train"),
        ("toolrest data ch", "check"),
        ("toolrest export --ada", "--adapter"),
        ("toolrest chat --wei", "--weights"),
    ],
)
def test_the_shell_completes(typed, found):
    code = "import sys; sys.argv[0] = 'toolrest'; from toolrest.cli.main import main; main()"
    words = {"_TOOLREST_COMPLETE": "complete_bash", "COMP_WORDS": typed}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | words | {"COMP_CWORD": str(typed.count(" "))},
        capture_output=True,
        text=True,
    )
    assert found in done.stdout.split(), done.stdout + done.stderr
    assert "Usage" not in done.stdout


def test_the_script_of_a_shell_is_shown(monkeypatch):
    # Else typer looks which shell the tests were started from.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    shown = CliRunner().invoke(app, ["--show-completion", "bash"], prog_name="toolrest")
    assert "_TOOLREST_COMPLETE" in shown.output


def processor_seconds(code):
    """Of the processor, whatever else the machine does; and the last line that was printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, done.stdout.splitlines()[-1]


def test_help_loads_no_engine_and_is_there_at_once():
    ends = "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
    ours = (
        f"import sys\nfrom toolrest.cli.main import app\n{ends}"
        "print([n for n in ('torch', 'transformers', 'trl', 'datasets') if n in sys.modules])"
    )
    smallest = (
        "import typer\napp = typer.Typer()\n"
        "app.command()(lambda: None)\napp.callback()(lambda: None)\n"
        f"{ends}print('[]')"
    )
    ratios = []
    for _ in range(3):
        spent, loaded = processor_seconds(ours)
        assert loaded == "[]"
        ratios.append(spent / processor_seconds(smallest)[0])
    # On every machine: half a second where the smallest command of typer takes a third of one.
    assert min(ratios) < 1.6


def valued(command):
    """The options of a command that take a value."""
    found = ROOT
    for name in command:
        found = found.commands[name]
    return [
        each.opts[0]
        for each in getattr(found, "params", [])
        if each.opts[0].startswith("--") and not getattr(each, "is_flag", False)
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_option_without_its_value_names_the_help_of_its_command(command):
    for option in valued(command):
        found = CliRunner().invoke(app, [*command, option])
        assert found.exit_code == 2 and found.stderr.count("\n") == 1
        assert f"toolrest {' '.join(command)} --help" in found.stderr, (option, found.stderr)


@pytest.mark.parametrize("word", [*ROOT.commands, "nothing"])
def test_a_group_names_the_command_that_it_does_not_have(word):
    for words in ([word], ["data", word]):
        known = ROOT if len(words) == 1 else ROOT.commands["data"]
        if word in known.commands:
            continue
        found = CliRunner().invoke(app, words)
        assert found.exit_code == 2 and f"no such command '{word}'" in found.stderr, found.stderr
