"""`toolrest chat` as it is typed into: piped, and in a terminal of its own."""

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time

import pytest
from small_runs import FEW, toolrest
from typer.testing import CliRunner

from toolrest.cli.main import app

ASKED = "Can you rent a parcel, room G7528 and the title Vosva.\n"
PYTHON = '''
def RentParcel(title: str, room: str) -> dict:
    """Rent a parcel.

    Args:
        title: Its title.
        room: Its room.
    """
    return {"rented": title}
'''
SCHEMA = {
    "name": "RentParcel",
    "description": "Rent a parcel.",
    "parameters": {
        "type": "object",
        "properties": {"title": {"type": "string"}, "room": {"type": "string"}},
    },
}
CALL = 'call: RentParcel {"room": "G7528", "title": "Vosva"}'


def refused(*arguments):
    """The line of a command that is refused."""
    done = chat(*arguments, typed=ASKED)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1 and not done.stdout
    return done.stderr


@pytest.fixture
def tools(tmp_path):
    (tmp_path / "tools.py").write_text(PYTHON)
    (tmp_path / "tools.json").write_text(json.dumps([SCHEMA]))
    return tmp_path


def chat(*arguments, typed=""):
    words = ["chat", *map(str, arguments)]
    return CliRunner().invoke(app, words, input=typed, env={"COLUMNS": "100"})


def test_functions_are_called(tools):
    done = chat("embedded", "--tools", tools / "tools.py", typed=f"\n{ASKED}{ASKED}")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    once = [line for line in lines if not line.startswith(("thought: ", "note: "))]
    assert once == [CALL, 'result: RentParcel: {"rented": "Vosva"}'] * 2


def test_results_of_schemas_are_typed(tools):
    done = chat("embedded", "--tools", tools / "tools.json", typed=f"{ASKED}it is rented\n")
    assert done.exit_code == 0
    assert CALL in done.stdout and "result: RentParcel: it is rented" in done.stdout


def test_the_end_of_what_is_typed_may_come_at_a_result(tools):
    done = chat("embedded", "--tools", tools / "tools.json", typed=ASKED)
    assert done.exit_code == 0 and "Traceback" not in done.output


def test_weights_are_those_of_inspect(tools):
    done = chat("embedded", "--tools", tools / "tools.py", "--weights", typed=ASKED)
    shown = done.stdout.splitlines()
    assert "reasoning" in shown[0]
    at = next(n for n, line in enumerate(shown) if '": " Rent' in line)
    name, room = (shown[at].index(word) for word in ("Rent ", "room "))
    weights = shown[at + 1]
    assert float(weights[name:].split()[0]) > float(weights[room:].split()[0]) > 0


@pytest.mark.slow
def test_an_exported_folder_knows_its_wording(tools, monkeypatch):
    monkeypatch.chdir(tools)
    limit = "rollout.max_response_tokens=96"
    toolrest("train", "max_steps=1", "name=one", *FEW, limit, "--quiet")
    toolrest("export", "runs/one", "--to", "out")
    said = chat("out", "--tools", "tools.py", typed=ASKED)
    assert said.exit_code == 0 and "call: RentParcel" in said.stdout
    assert chat("runs/one", "--tools", "tools.py", typed=ASKED).stdout == said.stdout
    for which in ("out", "runs/one", "runs/one/checkpoints/checkpoint-1"):
        assert "--system" in refused(which, "--system", "Be short.")
    for which in ("out", "runs/one/checkpoints/checkpoint-1"):
        assert "no run's folder" in refused(which, "--checkpoint", "1")
    assert "no checkpoint 7" in refused("runs/one", "--checkpoint", "7")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere/at/all",), "no such folder"),
        (("embedded", "--tools", "nowhere.py"), "no such file"),
        (("embedded", "--dialect", "rla"), "did you mean 'rlla'"),
        (("embedded", "--max-tokens", "4096"), "the policy has 4096 positions"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, words):
    assert words in refused(*arguments)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--system", "Be short."), "the embedded world's tasks"),
        *((("--checkpoint", which), "no run's folder") for which in ("best", "3")),
        (("--tool-seconds", "3"), "--tools"),
        *((("--tool-seconds", each, "--tools", "tools.py"), "seconds") for each in ("inf", "nan")),
        (("--tool-seconds", "3", "--tools", "tools.json"), ".py file"),
    ],
)
def test_what_would_be_ignored_is_refused(tools, monkeypatch, option, words):
    monkeypatch.chdir(tools)
    said = refused("embedded", *option)
    assert option[0] in said and words in said


def take_the_terminal():
    """In the child: its input is its terminal, and Ctrl-C ends it, also where this was started in
    the background, which ignores it.
    """
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "code", "at"), [("\x04", 0, "you> "), ("\x03", 130, "result of RentParcel> ")]
)
def test_in_a_terminal_ctrl_d_and_ctrl_c_end_cleanly(tools, key, code, at):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "toolrest", "chat", "embedded", "--tools", "tools.json"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tools,
        start_new_session=True,
        preexec_fn=take_the_terminal,
    )
    os.close(theirs)
    seen, asked, pressed = "", False, 0.0
    until = time.monotonic() + 240  # where other work starves it
    try:
        while process.poll() is None and time.monotonic() < until:
            if select.select([ours], [], [], 1)[0]:
                try:
                    seen += os.read(ours, 4096).decode("utf-8", "replace")
                except OSError:  # the terminal is closed
                    break
            if not asked and "you> " in seen and at != "you> ":
                os.write(ours, ASKED.encode())
                asked = True
            if at in seen and time.monotonic() > pressed + 5:  # again if it came before the read
                os.write(ours, key.encode())
                pressed = time.monotonic()
        ended = process.wait(30)
        # a key more, as it ended: for a shell 130, too
        pressed_again = key == "\x03" and ended == -signal.SIGINT
        assert ended == code or pressed_again, seen[-2000:]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(ours)
    assert "Traceback" not in seen and "Ctrl-D ends" in seen
    assert ("your request is kept" in seen) == (at != "you> ")
