"""What a policy writes harms nothing and counts as wrong."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gold import answer, play_gold

from toolrest.errors import InputError
from toolrest.evaluate.bfcl import official as official_module
from toolrest.evaluate.bfcl.episodes import MOST_STEPS, SingleTurn, episodes
from toolrest.evaluate.bfcl.official import _KEPT, OfficialBFCL, OfficialFailure
from toolrest.evaluate.bfcl.result_files import write_result_files
from toolrest.evaluate.bfcl.worker import LONGEST_CALL, _write
from toolrest.evaluate.episode import Answer

pytestmark = pytest.mark.slow

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
    "a lone surrogate in the name": ("\ud800", {}),
    "a lone surrogate in a value": ("cd", {"folder": "\ud800"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_calls_are_wrong_and_do_nothing(official, speech, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    called, values = HOSTILE[name]
    java = "java" if official.release == "v3" else "simple_java"
    for category in ("multiple", java, "multi_turn_base"):
        episode = episodes(official, category, speech)[0]
        episode.receive(text(called, values))
        while (prompt := episode.request()) is not None:
            json.dumps(prompt.messages, ensure_ascii=False).encode()
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
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, env=kept
    )
    found = json.loads(done.stdout)
    assert found[:4] == ["PermissionError"] * 4
    assert found[4:] == ["MemoryError", "no key"]


@pytest.mark.parametrize(
    "category", ["irrelevance", "multiple", "live_relevance", "multi_turn_base"]
)
def test_a_prompt_that_was_not_asked_is_wrong_whatever_is_due(official, speech, category):
    episode = episodes(official, category, speech)[0]
    episode.receive(Answer("", "too_long"))
    assert episode.request() is None
    outcome = episode.outcome()
    assert (outcome.correct, outcome.check) == (False, "too_long")


def test_result_files_hold_no_code(official, speech, tmp_path):
    """The official executor evaluates names and keys as they stand in the file."""
    episode = episodes(official, "multi_turn_base", speech)[0]
    harm = "open('HARM','w').write('x') or sorted"
    episode.receive(text(harm, {}))
    episode.receive(text("exec", {"source": "x"}))
    episode.receive(text("ls", {"a=__import__('os') or": True}))
    while episode.request() is not None:
        episode.receive(answer([]))
    folder = write_result_files(tmp_path, official.release, [episode])
    (file,) = folder.glob("*.json")
    written = file.read_text()
    assert "open(" not in written and "import__(" not in written
    names = [json.loads(c.split("\n")[1])["name"] for c in json.loads(written)["result"][0][:3]]
    assert names == ["unknown_open__HARM___w___write__x___or_sorted", "unknown_exec", "ls"]


def test_the_process_ends_with_its_parent(official):
    """Even where the parent is killed while a request is computed."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from toolrest.evaluate.bfcl.official import OfficialBFCL\n"
        "own = OfficialBFCL(folder=Path(sys.argv[1]) if sys.argv[1:] else None)\n"
        "print(own._process.pid, flush=True); time.sleep(60)\n"
    )
    folder = [str(official._folder)] if official._folder else []
    parent = subprocess.Popen(
        [sys.executable, "-c", script, *folder], stdout=subprocess.PIPE, text=True
    )
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}/stat").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{child}/stat").exists()


def test_a_bfcl_eval_that_cannot_be_used_is_one_error(tmp_path):
    (tmp_path / "bfcl_eval").mkdir()
    (tmp_path / "bfcl_eval" / "__init__.py").write_text("")
    with pytest.raises(InputError, match=r"cannot be used: .*ModuleNotFoundError.*2025\.8\.5"):
        OfficialBFCL(folder=tmp_path)


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


def test_what_a_process_said_last_is_told_however_late_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "bfcl_eval").mkdir()
    (tmp_path / "bfcl_eval" / "__init__.py").write_text("")
    read = official_module._keep

    def late(lines, told):
        time.sleep(0.5)
        read(lines, told)

    monkeypatch.setattr(official_module, "_keep", late)
    with pytest.raises(InputError, match=r"cannot be used: .*ModuleNotFoundError"):
        OfficialBFCL(folder=tmp_path)
