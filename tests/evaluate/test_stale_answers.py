"""An answer is used again for what it was an answer to, and for nothing else."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import toolrest
from toolrest.cli.main import app
from toolrest.data.wording import Prompt
from toolrest.errors import InputError
from toolrest.evaluate.answers import KEYED, AnswerStore
from toolrest.evaluate.episode import Answer
from toolrest.evaluate.run_episodes import run_episodes

POLICY = Path(toolrest.__file__).parent / "world" / "policy"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, code=0):
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "250"})
    assert done.exit_code == code, done.output
    return done.output


def write_levels(word):
    row = {"system": "S", "user": f"say {word}", "answer": {"name": "f", "parameters": {}}}
    for level in (1, 2, 3):
        Path(f"level-{level}-api_processed.json").write_text(json.dumps([row]))


class Backend:
    """Says what it was asked."""

    window = 4

    def __init__(self):
        self.asked = 0

    def sent(self, prompt):
        return prompt.messages

    def show(self, prompt):
        return str(prompt)

    def answer(self, requests):
        for request in requests:
            self.asked += 1
            yield request.key, Answer(request.prompt.messages[0]["content"], "end")


class Once:
    """One question."""

    identity = category = "i"

    def __init__(self, text):
        self.text, self.got = text, None

    def request(self):
        return None if self.got else Prompt([{"role": "user", "content": self.text}])

    def receive(self, answer):
        self.got = answer.text

    def outcome(self):
        return self.got


def test_another_question_of_the_same_name_is_asked(tmp_path):
    backend = Backend()
    for text, asked in (("a", 1), ("a", 1), ("b", 2), ("a", 2), ("b", 2)):
        with AnswerStore(tmp_path / "e", {}) as store:
            assert run_episodes([Once(text)], backend, store) == [text]
        assert backend.asked == asked


def test_other_rows_of_api_bank_are_another_evaluation():
    """They once got the old rows' answers."""
    words = ("embedded", "--on", "apibank", "--data", ".", "--max-tokens", 8)
    write_levels("one")
    run(*words, "--out", "a")
    write_levels("two")
    output = run(*words, "--out", "a", code=2)
    assert "other settings (data" in output and "--out" in output
    run(*words, "--out", "b")
    assert "not of one benchmark: data" in run("--compare", "a", "b", code=2)
    rows = [Path(name, "answers.jsonl").read_text().split("\n")[0] for name in "ab"]
    keys = [json.loads(row)["key"] for row in rows]
    assert keys[0].rsplit("/", 1)[0] == keys[1].rsplit("/", 1)[0] and keys[0] != keys[1]


def test_another_policy_of_the_same_name_is_another_evaluation(tmp_path):
    shutil.copytree(POLICY, "p")
    words = ("p", "--limit", 1, "--dialect", "rlla", "--out", "a")
    run(*words)
    template = Path("p/chat_template.jinja")
    template.write_text(template.read_text() + "{# #}")
    assert "other settings (weights" in run(*words, code=2)


def test_answers_of_an_older_toolrest_are_refused(tmp_path):
    settings = {"benchmark": "world", "policy": "embedded"}
    with AnswerStore(tmp_path, settings) as store:
        store.add("x/0", Answer("a", "end"))
    with pytest.raises(InputError, match=r"of an older toolrest.*--out"):
        AnswerStore(tmp_path, settings | KEYED)


def test_answers_without_settings_are_refused(tmp_path):
    with AnswerStore(tmp_path, {"a": 1}) as store:
        store.add("x/0", Answer("a", "end"))
    (tmp_path / "settings.json").unlink()
    with pytest.raises(InputError, match=r"whose settings .* are gone"):
        AnswerStore(tmp_path, {"a": 1})


def test_what_two_evaluations_differ_in_is_said():
    run("embedded", "--limit", 2, "--out", "a")
    run("embedded", "--limit", 2, "--out", "b", "--max-tokens", 5, "--batch-size", 2)
    same = run("--compare", "a", "a")
    assert "also differ" not in same
    output = run("--compare", "a", "b")
    for words in ("max_tokens: ", "batch_size: 16 and 2"):
        assert f"they also differ in  {words}" in output
    known = json.loads(Path("b/environment.json").read_text())
    known["machine"]["cpu_capability"] = "OTHER"
    known["versions"]["torch"] = "1.0"
    known["variables"]["CUDA_LAUNCH_BLOCKING"] = "1"
    Path("b/environment.json").write_text(json.dumps(known))
    output = run("--compare", "a", "b")
    assert "and OTHER" in output and "and 1.0" in output
    assert "CUDA_LAUNCH_BLOCKING is None, and 1" in output
    output = run("embedded", "--limit", 2, "--out", "b", "--max-tokens", 5, "--batch-size", 2)
    assert "given elsewhere or otherwise" in output
    assert "was gone on with elsewhere" in run("--compare", "a", "b")


def test_answers_of_a_policy_whose_commit_is_not_known_are_refused(monkeypatch):
    monkeypatch.setattr("toolrest.evaluate.settings.policy_fingerprint", lambda recipe: "not known")
    run("embedded", "--limit", 1, "--out", "a")
    assert "is not known" in run("embedded", "--limit", 1, "--out", "a", code=2)


def test_settings_hold_what_numbers_depend_on():
    run("embedded", "--limit", 1, "--out", "a")
    settings = json.loads(Path("a/settings.json").read_text())
    assert {
        *("policy", "weights", "benchmark", "version", "data", "dialect", "prompt", "backend"),
        *("decoding", "dtype", "device", "batch_size", "max_tokens", "max_prompt_tokens"),
    } <= settings.keys()
    environment = json.loads(Path("a/environment.json").read_text())
    assert {"versions", "python", "commit", "machine", "variables"} <= environment.keys()
    assert json.loads(Path("a/result.json").read_text())["scored_by"]["versions"]["toolrest"]


def test_every_file_of_bfcl_s_questions_counts(tmp_path):
    from toolrest.evaluate.bfcl.worker import _hash

    (tmp_path / "possible_answer").mkdir()
    seen = set()
    for name, text in (
        ("a.json", "1"),
        ("possible_answer/a.json", "1"),
        ("possible_answer/a.json", "2"),
        ("a.json", "2"),
        ("b.json", ""),
    ):
        (tmp_path / name).write_text(text)
        seen.add(_hash(tmp_path, "*.json"))
    assert len(seen) == 5
