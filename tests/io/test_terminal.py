"""What a terminal, a pipe, a disk or a locale does to the view does nothing to the work."""

import ast
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import toolrest
from toolrest.io import terminal
from toolrest.io.console import PlainConsole

SOURCE = Path(toolrest.__file__).parent
TOOLREST = f"{sys.executable} -m toolrest"
SMALL = (
    "max_steps=2 save_steps=2 rollout.prompts_per_step=2 rollout.group_size=2 "
    "rollout.max_response_tokens=16 evaluation.samples=2"
)
HOSTILE = "[/red] [bold]x[/] :key: \x1b]52;c;aGk=\x07 \x1bPq\x1b\\ \x9b2J \u202eabc \x00 ⏎"


def in_a_shell(command, folder, **environment):
    """What a shell makes of it; `%` stands for the program."""
    return subprocess.run(
        ["bash", "-c", command.replace("%", TOOLREST)],
        cwd=folder,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


WORK = {
    "train": (f"% train {SMALL} name=r", "runs/r/summary.json", "runs/r/warnings.jsonl"),
    "evaluate": (
        "% evaluate embedded --on world --limit 2 --out e",
        "e/result.json",
        "e/warnings.jsonl",
    ),
    "prepare": ("% data prepare rows.jsonl --output p.parquet", "p.parquet.manifest.json", None),
    "variance": (
        "% variance --prompts 4 rollout.group_size=2 rollout.max_response_tokens=16 --schemes rest"
        " --output v.json",
        "v.json",
        None,
    ),
    "compare": (
        f"% compare {SMALL} --methods grpo --seeds 1 --out c",
        "c/compare.json",
        "c/warnings.jsonl",
    ),
}
ROW = {
    "query": "Look.",
    "tools": json.dumps([{"name": "look", "description": "", "parameters": {}}]),
    "answers": json.dumps([{"name": "look", "arguments": {}}]),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("train", ">&- 2>&- <&-"),
        ("evaluate", "| head -0"),
        ("evaluate", "2>&-"),
        ("prepare", "> /dev/full"),
        ("prepare", ">&-"),
        ("prepare", "2>&-"),
        ("prepare", ">&- 2>&- <&-"),
        ("prepare", "| head -0"),
        ("variance", ">&-"),
        ("compare", "> /dev/full"),
    ],
)
def test_work_goes_on_without_its_view(name, where, folder):
    """Each way to lose it, and each command: streams are kept in one place, before any command."""
    command, result, notes = WORK[name]
    done = in_a_shell(f"set -o pipefail; {command} {where}", folder)
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert (folder / result).stat().st_size > 0
    assert "Traceback" not in said and "disk is full" not in said
    if where != "2>&-" and "2>" not in where:
        assert "standard output was lost on the way" in said
    if notes is not None:
        rows = [json.loads(line) for line in (folder / notes).read_text().split("\n") if line]
        assert {row["name"] for row in rows} - {"cold_start"} == {"view_lost"}


@pytest.mark.slow
def test_a_lost_view_changes_no_number(folder, forking):
    lost = in_a_shell(f"% train {SMALL} name=a > /dev/full", folder)
    assert lost.returncode == 0 and b"standard output was lost on the way" in lost.stderr
    assert forking.run("train", *SMALL.split(), "name=b", cwd=folder).returncode == 0
    files = [p.relative_to(folder / "runs" / "a") for p in (folder / "runs" / "a").rglob("*")]
    for file in files:
        if file.name in ("model.safetensors", "after.jsonl", "before.json"):
            one, other = ((folder / "runs" / run / file).read_bytes() for run in "ab")
            assert one == other, file


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_work_outlives_its_terminal(name, folder):
    """The terminal's other end is closed, which sends SIGHUP and fails every write."""
    command, result, _ = WORK[name]
    ours, theirs = pty.openpty()
    run = subprocess.Popen(
        ["bash", "-c", f"exec {command.replace('%', TOOLREST)}"],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )
    os.close(theirs)
    read = b""
    while b"2" not in read:
        read += os.read(ours, 1024)
    os.close(ours)
    assert run.wait(120) == 0
    assert (folder / result).is_file()


LATIN = {"PYTHONIOENCODING": "latin-1"}
ASCII = {"PYTHONIOENCODING": "ascii:strict"}
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
OPTIMISED = {"PYTHONOPTIMIZE": "1"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "environment"),
    [
        *(("train", each) for each in (PLAIN, OPTIMISED)),
        *(("prepare", each) for each in (LATIN, ASCII, PLAIN, OPTIMISED)),
        ("variance", ASCII),
    ],
)
def test_any_locale(name, environment, folder):
    command, result, _ = WORK[name]
    done = in_a_shell(command, folder, **environment)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    (folder / result).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "evaluate", "variance"])
def test_docstrings_that_are_left_out_are_what_is_blamed(name, folder):
    done = in_a_shell(WORK[name][0], folder, PYTHONOPTIMIZE="2")
    assert done.returncode == 2
    assert done.stderr.decode().startswith("toolrest: PYTHONOPTIMIZE=2") and not done.stdout


@pytest.mark.slow
def test_a_result_that_is_only_printed_has_to_be(folder):
    shown = in_a_shell("% data show rows.jsonl > /dev/full", folder)
    assert shown.returncode == 2 and b"cannot be written (No space left" in shown.stderr
    assert in_a_shell("set -o pipefail; % data show rows.jsonl | head -1", folder).returncode == 0


@pytest.mark.slow
def test_a_folder_and_a_row_with_markup_and_controls_are_shown_as_they_are(folder, forking):
    """A run in a folder named `a[/red]`, and a tool named by escapes, in a terminal."""
    inside = folder / "a[/red][bold]"
    inside.mkdir(parents=True)
    assert forking.run("train", *SMALL.split(), "name=r", cwd=inside).returncode == 0
    words = ("--on", "world", "--limit", "2", "--out", "e[/red]")
    again = forking.run("evaluate", "a[/red][bold]/runs/r", *words, cwd=folder)
    assert again.returncode == 0 and "e[/red]" in again.stdout, again.stderr
    name = "look\x1b]52;c;aGk=\x07"
    row = ROW | {"tools": ROW["tools"].replace("look", json.dumps(name)[1:-1])}
    (folder / "odd.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    for command in ("show", "check"):
        done = forking.run("data", command, "odd.jsonl", cwd=folder)
        assert "\x1b" not in done.stdout + done.stderr and "\x07" not in done.stdout


@pytest.mark.parametrize(
    "shown",
    [
        HOSTILE,
        Text(HOSTILE),
        Panel(Text(HOSTILE), title=Text(HOSTILE)),
        "table",
    ],
)
@pytest.mark.parametrize("width", [20, 80])
def test_a_console_shows_text_as_text(shown, width):
    if shown == "table":
        shown = Table(HOSTILE, title=HOSTILE, caption=HOSTILE)
        shown.add_row(HOSTILE)
    file = io.StringIO()
    console = PlainConsole(
        file=file, width=width, force_terminal=True, color_system=None, markup=False, emoji=False
    )
    console.print(shown)
    text = file.getvalue()
    assert not any(c in text for c in "\x1b\x07\x00\x9b\u202e")
    assert "\\u001b" in text.replace("\n", "") and ":key:" in text.replace("\n", "")


@given(st.text())
def test_what_is_said_holds_no_control(text):
    file = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        terminal.say(text)
    said = file.getvalue()
    assert all(c in "\n\t" or c.isprintable() or ord(c) > 0x9F for c in said)


def calls(tree):
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def faults(tree, name):
    """Ways to print, open and show that are kept for one place."""
    for node in calls(tree):
        called = ast.unparse(node.func)
        words = {word.arg for word in node.keywords}
        short = called.rpartition(".")[2]
        if name not in ("io/terminal.py", "io/console.py", "evaluate/bfcl/worker.py"):
            if called in ("print", "typer.echo", "click.echo", "Console", "TextColumn"):
                yield called
            if called in ("sys.stdout.write", "sys.stderr.write", "Text.from_markup", "Prompt.ask"):
                yield called
        given = len(node.args) + ("encoding" in words)
        if given < {"read_text": 1, "write_text": 2}.get(short, 0):
            yield f"{called} without encoding"
        if short in ("open", "fdopen") and called not in (
            "os.open",
            "gzip.open",
            "opener.open",
            "webbrowser.open",
        ):
            mode = node.args[1 if called in ("open", "os.fdopen") else 0 :][:1]
            binary = mode and isinstance(mode[0], ast.Constant) and "b" in str(mode[0].value)
            if not binary and "encoding" not in words:
                yield f"{called} without encoding"
        if called.startswith("subprocess.") and words & {"text", "universal_newlines"}:
            yield f"{called} by the locale"


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.name)
def test_nothing_prints_or_opens_in_a_way_of_its_own(path):
    name = path.relative_to(SOURCE).as_posix()
    assert list(faults(ast.parse(path.read_text(encoding="utf-8")), name)) == []


@pytest.mark.parametrize(
    "written",
    [
        "print(x)",
        "typer.echo(x)",
        "Console(markup=False)",
        "TextColumn('{task.description}')",
        "Text.from_markup(x)",
        "path.read_text()",
        "path.write_text(x)",
        "path.open('w')",
        "open(path)",
        "subprocess.run(x, text=True)",
    ],
)
def test_the_walk_sees_what_it_looks_for(written):
    assert list(faults(ast.parse(written), "x.py"))
