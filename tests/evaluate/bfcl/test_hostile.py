"""What a policy writes harms nothing and counts as wrong."""

import json
import os
import time
from pathlib import Path

import pytest
from gold import answer, play_gold

from toolrest.evaluate.bfcl.episodes import MOST_STEPS, SingleTurn, episodes
from toolrest.evaluate.bfcl.official import OfficialBFCL, OfficialFailure
from toolrest.evaluate.bfcl.worker import LONGEST_CALL, _write
from toolrest.evaluate.episode import Answer

METHODS = frozenset({"cd", "ls", "echo", "power", "factorial"})


def text(name, values):
    call = json.dumps({"name": name, "arguments": values})
    return Answer(f"<tool_call>\n{call}\n</tool_call>", "end")


HOSTILE = {
    "import": ("__import__", {"name": "os"}),
    "a chain in the name": ("().__class__.__base__.__subclasses__", {}),
    "code in the name": ("cd(folder='x') or __import__('os').system('touch HARM')#", {}),
    "code in a key": ("cd", {"folder=__import__('os').system('touch HARM'), x": 1}),
    "a keyword as key": ("cd", {"lambda": 1}),
    "code in a value": ("cd", {"folder": "__import__('os').system('touch HARM')"}),
    "quotes in a value": ("cd", {"folder": "' + __import__('os').system('touch HARM') + '"}),
    "a built-in": ("exec", {"source": "import os"}),
    "a private method": ("_load_scenario", {"scenario": {}}),
    "ten megabytes": ("cd", {"folder": "x" * 10_000_000}),
    "deep": ("cd", {"folder": json.loads("[" * 900 + "]" * 900)}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_calls_are_wrong_and_do_nothing(official, speech, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    called, values = HOSTILE[name]
    for category in ("multiple", "multi_turn_base"):
        episode = episodes(official, category, speech)[0]
        episode.receive(text(called, values))
        while episode.request() is not None:
            episode.receive(answer([]))
        assert not episode.outcome().correct
    assert not Path("HARM").exists()
    assert official.ask("version")["release"] == official.release


@pytest.mark.parametrize(
    "reply",
    [
        '<tool_call>\n{"name": "cd", "arguments": {"folder": ' + "9" * 5000 + "}}\n</tool_call>",
        "<tool_call>\n" + "[" * 200_000 + "\n</tool_call>",
        "\x00\ud800" * 1000,
        "<tool_call>" * 100_000,
    ],
    ids=["a huge number", "deep nesting", "nonsense", "many tags"],
)
def test_hostile_texts_are_values(official, speech, reply):
    episode = episodes(official, "multiple", speech)[0]
    episode.receive(Answer(reply, "length"))
    outcome = episode.outcome()
    assert not outcome.correct
    assert outcome.check == "no call"
    json.dumps(outcome.got)


def test_only_calls_of_methods_are_written():
    assert _write("cd", {"folder": "a'b"}, METHODS) == 'cd(folder="a\'b")'
    for name, values in (
        ("eval", {}),
        ("cd", {"a b": 1}),
        ("cd", {"class": 1}),
        ("cd", {"x": "y" * LONGEST_CALL}),
    ):
        written = _write(name, values, METHODS)
        assert not written.startswith(("eval", "cd"))
        with pytest.raises(NameError):
            eval(written, {})


def test_endless_calls_are_broken_off(official, speech):
    """One more than the limit, as BFCL counts; the dialogue is then wrong."""
    episode = episodes(official, "multi_turn_base", speech)[0]
    asked = 0
    while episode.request() is not None:
        episode.receive(answer([{"name": "ls", "arguments": {}}]))
        asked += 1
    assert asked == MOST_STEPS + 1
    assert episode.outcome().check == "too many steps"


def test_a_request_that_never_ends_is_killed_and_the_next_one_is_answered(official):
    with OfficialBFCL(seconds=2.0, folder=official._folder) as short:
        item = next(
            i
            for i in short.ask("load", category="multi_turn_base")
            if "MathAPI" in i["involved_classes"]
        )
        start = time.monotonic()
        endless = {"power": {"base": 7, "exponent": 10**9}}
        try:
            found = short.ask(
                "execute", category="multi_turn_base", identity=item["id"], steps=[[endless]]
            )
            assert "Error" in found[0] or "result" in found[0]
        except OfficialFailure as failure:
            assert "2 s" in str(failure) or "died" in str(failure)
        assert time.monotonic() - start < 20
        assert short.ask("version")["release"] == official.release


def test_a_dead_process_is_an_answer_and_the_next_request_starts_another(official):
    with OfficialBFCL(folder=official._folder) as own:
        own._process.kill()
        with pytest.raises(OfficialFailure, match="died"):
            own.ask("version")
        assert own.ask("version")["release"] == official.release


def test_the_process_has_no_network_no_files_no_keys(official, tmp_path, monkeypatch):
    """The worker's own guard, tried from inside: a module that the checker would import."""
    package = tmp_path / "bfcl_eval_probe.py"
    package.write_text(
        "import os, socket, subprocess\n"
        "def tried(what):\n"
        "    try:\n        what()\n    except Exception as error:\n"
        "        return type(error).__name__\n"
        "    return 'done'\n"
        "def probe():\n"
        "    return [tried(lambda: socket.create_connection(('127.0.0.1', 9), 1)),\n"
        "            tried(lambda: open('HARM', 'w')),\n"
        "            tried(lambda: subprocess.run(['true'])),\n"
        "            tried(lambda: os.system('true')),\n"
        "            tried(lambda: bytearray(1 << 40)),\n"
        "            os.environ.get('OPENAI_API_KEY', 'no key')]\n"
    )
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    script = (
        "import sys, json; sys.path.insert(0, sys.argv[1])\n"
        "import toolrest.evaluate.bfcl.worker as worker\n"
        "import bfcl_eval_probe\n"
        "worker._shut_in()\n"
        "print(json.dumps(bfcl_eval_probe.probe()))\n"
    )
    import subprocess
    import sys

    from toolrest.evaluate.bfcl.official import _KEPT

    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, env=kept
    )
    found = json.loads(done.stdout)
    assert found[:4] == ["PermissionError"] * 4
    assert found[4:] == ["MemoryError", "no key"]


def test_unreadable_calls_count_as_none(official, speech):
    """As the official decoders do: irrelevance is then right, anything else wrong."""
    broken = Answer('<tool_call>\n{"name": "f", "arguments": {\n</tool_call>', "end")
    for category, right in (("irrelevance", True), ("multiple", False)):
        episode = episodes(official, category, speech)[0]
        assert isinstance(episode, SingleTurn)
        episode.receive(broken)
        assert episode.outcome().correct is right


def test_gold_still_passes_after_all_that(official, speech):
    assert play_gold(episodes(official, "multi_turn_base", speech)[0]).correct
