"""Evaluations word prompts as the policy's training did, as its folder says."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import toolrest
from toolrest.cli.main import app
from toolrest.core.dialects import get_dialect
from toolrest.evaluate.bfcl.episodes import MultiTurn, Speech
from toolrest.evaluate.episode import Answer
from toolrest.policy.wording import Wording, write_wording

POLICY = Path(toolrest.__file__).parent / "world" / "policy"
ROW = {"system": "S", "user": "U", "answer": {"name": "f", "parameters": {}}}
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "dict", "properties": {}}}


@pytest.mark.parametrize("thoughts", ["none", "placeholder", "all"])
@pytest.mark.parametrize("think", [True, False])
def test_a_folder_says_dialect_style_and_thoughts(tmp_path, monkeypatch, thoughts, think):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(POLICY, "out")
    write_wording(Path("out"), Wording("hermes", "plain", think, 7, thoughts))
    for level in (1, 2, 3):
        Path(f"level-{level}-api_processed.json").write_text(json.dumps([ROW]))
    words = ["out", "--on", "apibank", "--data", ".", "--max-tokens", "1", "--out", "found"]
    done = CliRunner().invoke(app, ["evaluate", *words])
    assert done.exit_code == 0, done.output
    settings = json.loads(Path("found/result.json").read_text())["settings"]
    assert (settings["dialect"], settings["prompt"]) == ("hermes", "plain")
    assert settings.get("think", False) == think
    assert settings.get("thoughts", "placeholder") == thoughts
    assert ("First think" in Path("found/prompt.txt").read_text()) == think


def test_the_command_s_words_come_before_the_folder_s(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(POLICY, "out")
    write_wording(Path("out"), Wording("hermes", "plain", True, 7, "all"))
    for level in (1, 2, 3):
        Path(f"level-{level}-api_processed.json").write_text(json.dumps([ROW]))
    words = ["out", "--on", "apibank", "--data", ".", "--max-tokens", "1", "--out", "found"]
    more = ["--dialect", "llama3", "--prompt", "plain", "--no-think"]
    done = CliRunner().invoke(app, ["evaluate", *words, *more])
    assert done.exit_code == 0, done.output
    settings = json.loads(Path("found/result.json").read_text())["settings"]
    assert settings["dialect"] == "llama3" and "think" not in settings


class Official:
    """Executes each call to the same result."""

    def ask(self, what, **more):
        assert what == "execute"
        return ["done"]


@pytest.mark.parametrize(("thoughts", "kept"), [("none", False), ("all", True)])
def test_thoughts_of_replies_stay_in_a_dialogue_as_in_training(thoughts, kept):
    dialect = get_dialect("hermes")
    item = {
        "id": "0",
        "question": [[{"role": "user", "content": "Do it."}]],
        "function": [FUNCTION],
        "missed_function": {},
        "involved_classes": [],
    }
    speech = Speech("plain", dialect, think=True, thoughts=thoughts)
    episode = MultiTurn(Official(), "multi_turn_base", speech, item, None)
    reply = '<think>\nI do f.\n</think>\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    episode.receive(Answer(reply, "end"))
    messages = episode.request().messages
    (said,) = [each["content"] for each in messages if each["role"] == "assistant"]
    assert ("I do f." in said) == kept and '"f"' in said
