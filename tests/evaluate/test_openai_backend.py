"""Against a local server of our own: many at once, failures, a stop and a resume."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from server import Script, serving
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.data.wording import Prompt
from toolrest.errors import InputError
from toolrest.evaluate.episode import Request

pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed")


def backend(url, model="scripted", **options):
    from toolrest.evaluate.backends.openai import OpenAIBackend, Served

    return OpenAIBackend(Served(model, url, **options), 50)


def requests(count):
    return [
        Request(f"item{n}/0", Prompt([{"role": "user", "content": f"question {n}"}]))
        for n in range(count)
    ]


@pytest.mark.slow
def test_every_request_is_answered_once_through_all_trouble():
    script = Script(flaky=True, pause=0.3)
    with serving(script) as url:
        found = dict(backend(url, api_key="my-key").answer(requests(60)))
    assert found.keys() == {f"item{n}/0" for n in range(60)}
    assert {a.text for a in found.values()} == {"Done."}
    assert {(a.stop, a.prompt_tokens, a.tokens) for a in found.values()} == {("end", 7, 3)}
    assert set(script.answered.values()) == {1}
    assert sum(script.asked.values()) > 60
    assert 12 <= script.most_at_once <= 16
    assert script.keys == {"Bearer my-key"}


def test_a_prompt_that_does_not_fit_is_an_answer():
    with serving(Script()) as url:
        ((_, answer),) = backend(url, "short").answer(requests(1))
    assert (answer.text, answer.stop) == ("", "too_long")


@pytest.mark.parametrize(
    ("model", "url", "words"),
    [
        ("unknown", None, "answers 404"),
        ("scripted", "http://127.0.0.1:9/v1", "cannot be reached"),
        ("scripted", "http://[::1", "not an address"),
    ],
)
def test_a_wrong_model_or_address_is_one_error(model, url, words, monkeypatch):
    monkeypatch.setattr("toolrest.evaluate.backends.openai._TRIES", 1)
    with serving(Script()) as own, pytest.raises(InputError, match=words):
        list(backend(url or own, model).answer(requests(2)))


def test_answers_under_way_are_kept_when_one_fails(monkeypatch):
    """The second of three is refused; the others still come, then the error."""
    from toolrest.evaluate.backends import openai

    one = openai.OpenAIBackend._one

    def refusing(self, prompt):
        if prompt.messages[0]["content"] == "question 1":
            time.sleep(0.2)
            raise InputError("refused")
        time.sleep(0.5)
        return one(self, prompt)

    monkeypatch.setattr(openai.OpenAIBackend, "_one", refusing)
    came = []
    with serving(Script()) as url, pytest.raises(InputError, match="refused"):
        for key, _ in backend(url).answer(requests(3)):
            came.append(key)
    assert sorted(came) == ["item0/0", "item2/0"]


class Once:
    """An item of one question."""

    category = "c"

    def __init__(self, number):
        self.identity, self.done = f"item{number}", False

    def request(self):
        return None if self.done else Prompt([{"role": "user", "content": self.identity}])

    def receive(self, answer):
        self.done = True

    def outcome(self):
        return self.identity


def test_an_interrupt_while_an_answer_is_worked_on_loses_none_that_is_under_way(tmp_path):
    """The first answer's reader is interrupted; the other fifteen are kept before it ends."""
    from toolrest.evaluate.answers import AnswerStore
    from toolrest.evaluate.run_episodes import run_episodes

    class Interrupted(Once):
        def receive(self, answer):
            raise KeyboardInterrupt

    script = Script(pause=0.3)
    with serving(script) as url, AnswerStore(tmp_path, {}) as store:
        with pytest.raises(KeyboardInterrupt):
            run_episodes([Interrupted(number) for number in range(64)], backend(url), store)
        kept = store.count
        assert kept == sum(script.answered.values()) <= 32


class Interrupt:
    """Raises a KeyboardInterrupt before the n-th line that runs in the functions, as a signal may;
    lines count from when `on` is set.
    """

    def __init__(self, nth, codes):
        self.left, self.codes, self.on = nth, codes, False

    def __call__(self, frame, event, arg):
        return self.line if frame.f_code in self.codes else None

    def line(self, frame, event, arg):
        if event == "line" and self.on:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.line


@pytest.mark.slow
def test_an_interrupt_at_any_line_loses_no_answer(tmp_path):
    """From the first request to the last answer, one interrupt before each line that takes them."""
    from toolrest.evaluate import run_episodes as module
    from toolrest.evaluate.answers import AnswerStore

    code = module.run_episodes.__code__
    codes = {code} | {each for each in code.co_consts if hasattr(each, "co_code")}
    for nth in range(1, 1000):
        interrupt, stopped, script = Interrupt(nth, codes), False, Script()
        with serving(script) as url, AnswerStore(tmp_path / str(nth), {}) as store:
            asked = backend(url)
            asked._look_for_tools = lambda _, it=interrupt: setattr(it, "on", True)
            sys.settrace(interrupt)
            try:
                module.run_episodes([Once(number) for number in range(3)], asked, store)
            except KeyboardInterrupt:
                stopped = True
            finally:
                sys.settrace(None)
            assert store.count == sum(script.answered.values()), nth
        if not stopped:
            assert store.count == 3 and nth > 20
            return
    raise AssertionError("no run went to its end")


def test_a_second_interrupt_leaves_what_is_under_way():
    script = Script(pause=30)
    with serving(script) as url:
        answers = backend(url).answer(requests(4))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # may be ignored, under nohup
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            next(answers)
        assert time.monotonic() - start < 10
        script.pause.set()


def command(url, *more):
    return [
        "evaluate",
        *("scripted", "--on", "bfcl", "--backend", "openai", "--base-url", url),
        *("--dialect", "hermes", "--limit", "2", "--out", "out", "--quiet", *more),
    ]


def started(url, script, answers, tmp_path, forking):
    """A run of the command, and wait until the server has answered so often."""
    run = forking.start(*command(url), cwd=tmp_path)
    deadline = time.monotonic() + 120
    while sum(script.answered.values()) < answers and time.monotonic() < deadline:
        time.sleep(0.005)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_evaluation_goes_on_and_asks_nothing_twice(stop, tmp_path, forking):
    """All categories, dialogues with simulators among them. After Ctrl-C nothing is asked twice;
    after a kill only what was under way.
    """
    script = Script(flaky=True, pause=0.02)
    with serving(script) as url:
        run = started(url, script, 15, tmp_path, forking)
        os.kill(run.pid, stop)
        _, told = run.communicate(timeout=60)
        if stop is signal.SIGINT:
            assert run.returncode == 130
            assert "Go on with: toolrest" in told
        before = sum(script.answered.values())
        again = forking.run(*command(url), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert before < sum(script.answered.values())
    answers = (tmp_path / "out" / "answers.jsonl").read_text().splitlines()
    twice = sum(script.answered.values()) - len(answers)
    assert twice == 0 if stop is signal.SIGINT else 0 <= twice <= 16
    assert "mean" not in again.stdout
    assert "multi_turn_long_context (in part)" in again.stdout


def test_completions_send_ids_and_chat_sends_tools(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = Script()
    policy = str(Path(__import__("toolrest").__file__).parent / "world" / "policy")
    with serving(script) as url:
        for api, extra in (("chat", []), ("completions", ["--tokenizer", policy])):
            words = command(url, "--categories", "multiple", "--api", api, *extra, "--out", api)
            done = CliRunner().invoke(app, words, env={"OPENAI_API_KEY": "secret-key"})
            assert done.exit_code == 0, done.stderr
            assert "secret-key" not in done.stdout + done.stderr
            written = [file.read_text() for file in (tmp_path / api).iterdir() if file.is_file()]
            assert not any("secret-key" in text for text in written)
    assert script.keys == {"Bearer secret-key"}
    chat = [body for path, body in script.bodies if path.endswith("/chat/completions")]
    written = [body for path, body in script.bodies if path.endswith("/v1/completions")]
    assert chat[0]["tools"][0]["type"] == "function"
    assert chat[0]["temperature"] == written[0]["temperature"] == 0.0
    assert all(isinstance(token, int) for token in written[0]["prompt"])
    assert "You can call tools" in (tmp_path / "completions" / "prompt.txt").read_text()


@pytest.mark.parametrize(
    ("listed", "known"),
    [
        (
            {"data": [{"id": "m", "root": "/w", "created": 5, "max_model_len": 9, "x": [1]}]},
            {"id": "m", "root": "/w", "max_model_len": 9},
        ),
        ({"data": [{"id": "other"}]}, None),
        ({"data": 3}, None),
        ([1], None),
        ("x" * 3_000_000, None),
    ],
)
def test_what_a_server_says_of_its_model_is_kept(listed, known):
    """Or that it says nothing, whatever it sends instead."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    from toolrest.evaluate.backends.served import served_model

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            assert self.path == "/v1/models"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(listed).encode())

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1/"
        assert served_model(url, "m", None) == known
    finally:
        server.shutdown()
        server.server_close()
    assert served_model(url, "m", None) is None
    assert served_model("nonsense", "m", None) is None
