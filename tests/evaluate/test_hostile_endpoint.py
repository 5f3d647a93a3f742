"""Whatever an endpoint does: an answer, one that is counted as unreadable, or a line of error."""

import json
import signal
import threading
import time
import tracemalloc
from dataclasses import asdict

import pytest
from hostile import (
    ANSWERS,
    COUNTS,
    GONE,
    GOOD,
    MODES,
    ODD,
    REFUSES,
    TEXT,
    call,
    fixed,
    reply,
    serving,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrest.core.dialects import get_dialect
from toolrest.data.wording import Prompt
from toolrest.errors import InputError, printable
from toolrest.evaluate.answers import AnswerStore
from toolrest.evaluate.backends import connection, endpoint
from toolrest.evaluate.backends.connection import Unreadable
from toolrest.evaluate.backends.findings import Findings
from toolrest.evaluate.backends.openai import OpenAIBackend, Served
from toolrest.evaluate.backends.openai_reply import chat_answer, completion_answer
from toolrest.evaluate.episode import Answer, Request, read
from toolrest.evaluate.run_episodes import run_episodes

pytestmark = pytest.mark.slow

KEY = "my-secret-key"


@pytest.fixture(autouse=True)
def in_little_time(monkeypatch):
    monkeypatch.setattr(endpoint, "SECONDS", 1.5)
    monkeypatch.setattr("toolrest.evaluate.backends.openai._TRIES", 1)


def asked(url, count=1, **options):
    """The answers to as many prompts."""
    prompts = [
        Request(f"item{n}/0", Prompt([{"role": "user", "content": f"question {n}"}]))
        for n in range(count)
    ]
    return dict(OpenAIBackend(Served("m", url, KEY), 50, **options).answer(prompts))


def kept(answer, folder):
    """The answer as a store has it for the next run."""
    with AnswerStore(folder, {}) as store:
        store.add("a", answer)
    with AnswerStore(folder, {}) as store:
        return store.get("a")


@pytest.mark.parametrize("name", [*ANSWERS, *COUNTS])
def test_a_right_answer_in_an_odd_form(name, tmp_path):
    with serving(name) as (url, _):
        (answer,) = asked(url).values()
    numbers = (None, None) if name in COUNTS else (7, 3)
    assert answer == Answer(TEXT, "end", *numbers)
    assert kept(answer, tmp_path) == answer


@pytest.mark.parametrize("name", ODD)
def test_an_answer_that_is_none_is_counted(name, tmp_path):
    with serving(name) as (url, _):
        (answer,) = asked(url).values()
    assert answer.stop == "unreadable" and answer.why and not answer.text
    assert kept(answer, tmp_path) == answer
    assert not read(answer, get_dialect("hermes")).calls


@pytest.mark.parametrize("name", GONE)
def test_a_server_that_never_ends_an_answer_is_one_error(name):
    start = time.monotonic()
    with serving(name) as (url, served), pytest.raises(InputError, match="cannot be re"):
        (answer,) = asked(url).values()
        raise InputError(f"cannot be read: {answer.why}")  # where what came was no HTTP
    assert time.monotonic() - start < 8
    assert len(served.requests) <= 3


@pytest.mark.parametrize("name", REFUSES)
def test_a_refusal_is_one_error_with_its_words(name):
    _, words = REFUSES[name]
    notes = []
    with serving(name) as (url, served), pytest.raises(InputError, match=words) as caught:
        asked(url, findings=Findings(notes.append))
    said = printable(str(caught.value))
    assert KEY not in said and "\x1b" not in said and len(said) < 600
    again = name.startswith(("429", "5"))
    assert len(served.requests) == (4 if name == "round and round" else 2 if again else 1)
    assert ("asks to wait" in " ".join(notes)) == (name in ("429 for years", "429 to a date"))


def test_there_are_many_modes():
    assert len(MODES) > 80


def test_what_is_packed_small_takes_no_memory():
    with serving("a gzip bomb") as (url, _):
        tracemalloc.start()
        asked(url)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 60 * 1024**2


def test_a_redirection_on_the_server_is_followed_with_the_prompt():
    go = fixed(b"", "307 Go", Location="/v2/chat/completions")
    with serving(lambda n: go if n == 0 else MODES["as it should be"]) as (url, served):
        (answer,) = asked(url).values()
    assert answer.text == TEXT
    assert served.requests[1][0].startswith(b"POST /v2/chat/completions HTTP/1.1")
    assert served.requests[0][1] == served.requests[1][1]


def test_another_server_gets_neither_prompt_nor_key():
    with serving("as it should be") as (other, reached):
        go = fixed(b"", "307 Go", Location=f"{other}/chat/completions")
        with serving(lambda n: go) as (url, _), pytest.raises(InputError, match="another server"):
            asked(url)
    assert reached.requests == []


def test_the_key_and_the_name_in_an_address_are_sent_as_such():
    with serving("as it should be") as (url, served):
        asked(url)
        list(
            OpenAIBackend(Served("m", url.replace("//", "//me:p%40ss@")), 5).answer(
                [Request("a", Prompt([{"role": "user", "content": "\ud800 é"}]))]
            )
        )
    heads = [head for head, _ in served.requests]
    assert f"Authorization: Bearer {KEY}".encode() in heads[0]
    assert b"Authorization: Basic bWU6cEBzcw==" in heads[1] and b"me:" not in heads[1]


@pytest.mark.parametrize("key", ["a\nb", "a\rb", "clé", "a\x1bb"])
def test_a_key_that_is_none_is_refused_and_not_shown(key):
    with pytest.raises(InputError, match="no key has") as caught:
        OpenAIBackend(Served("m", "http://127.0.0.1:9/v1", key), 5)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["ftp://x/v1", "http://", "http:///v1", "http://h:99999/", "http://h:x/", "http://a b/", ""],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InputError, match="not an address"):
        OpenAIBackend(Served("m", url), 5)


def test_a_proxy_is_asked_for_the_whole_address(monkeypatch):
    with serving("as it should be") as (url, served):
        monkeypatch.setenv("http_proxy", url.removesuffix("/v1").replace("//", "//u:p@"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        (answer,) = asked("http://model.example:81/v1").values()
    assert answer.text == TEXT
    head = served.requests[0][0]
    assert head.startswith(b"POST http://model.example:81/v1/chat/completions HTTP/1.1\r\n")
    assert b"Host: model.example:81\r\n" in head and b"Proxy-Authorization: Basic dTpw" in head


def test_this_process_being_stopped_for_a_while_is_not_the_server_s_time(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(connection.time, "monotonic", lambda: clock[0])
    limits = connection.Limits(100.0, threading.Event())
    clock[0] = 90.0  # stopped: nobody looked
    assert limits.look() == 100.0
    for _ in range(100):
        clock[0] += 1.0
        if clock[0] < 190.0:
            limits.look()
    with pytest.raises(connection.Late):
        limits.look()


class Item:
    """An item of one question."""

    category = "c"

    def __init__(self, number):
        self.identity, self.answer = f"item{number}", None

    def request(self):
        return None if self.answer else Prompt([{"role": "user", "content": self.identity}])

    def receive(self, answer):
        self.answer = answer

    def outcome(self):
        return self.answer.stop


def played(url, count, folder):
    with AnswerStore(folder, {}) as store:
        return run_episodes(
            [Item(n) for n in range(count)], OpenAIBackend(Served("m", url), 5), store
        )


def test_one_odd_answer_of_many_is_counted(tmp_path):
    with serving(lambda n: MODES["no choices" if n == 3 else "as it should be"]) as (url, served):
        assert sorted(played(url, 20, tmp_path)) == ["end"] * 19 + ["unreadable"]
        assert sorted(played(url, 20, tmp_path)) == ["end"] * 19 + ["unreadable"]
    assert len(served.requests) == 20


@pytest.mark.parametrize("count", [1, 2, 100])
def test_a_server_without_any_answer_is_one_error(count, tmp_path):
    with serving("content of a number") as (url, _), pytest.raises(InputError) as caught:
        played(url, count, tmp_path)
    assert "cannot be read" in str(caught.value) and "the number 5" in str(caught.value)
    assert (tmp_path / "answers.jsonl").read_bytes() == b""


def test_a_server_that_goes_bad_on_the_way_leaves_the_rest_to_be_asked_again(tmp_path):
    bad = lambda n: MODES["as it should be" if n < 50 else "a page"]  # noqa: E731
    with serving(bad) as (url, _), pytest.raises(InputError, match="16 answers in a row"):
        played(url, 200, tmp_path)
    with serving("as it should be") as (url, served):
        assert played(url, 200, tmp_path) == ["end"] * 200
    assert len(served.requests) == 150


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stop"),
    [
        ("a byte a second", signal.SIGTERM),
        ("silence", signal.SIGINT),
        ("a header a second", signal.SIGTERM),
        ("429 for years", signal.SIGTERM),
        ("an endless body", signal.SIGTERM),
    ],
)
def test_a_signal_ends_it_in_seconds_and_answers_are_kept(name, stop, tmp_path, forking):
    modes = lambda n: MODES["as it should be" if n < 4 else name]  # noqa: E731
    with serving(modes) as (url, served):
        words = ["m", "--on", "world", "--backend", "openai", "--base-url", url, "--out", "out"]
        run = forking.start("evaluate", *words, "--quiet", cwd=tmp_path)
        store = tmp_path / "out" / "answers.jsonl"
        until = time.monotonic() + 120
        while (len(served.requests) < 20 or len(readable(store)) < 4) and run.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.05)
        start = time.monotonic()
        run.send_signal(stop)
        _, told = run.communicate(timeout=30)
        assert time.monotonic() - start < 20  # ten and what other work on the machine takes
    assert len(readable(store)) == 4
    others = [each for each in answers(store) if each["stop"] != "end"]
    if name == "an endless body":  # one that reaches the most bytes is an answer, which says so
        assert all(each["stop"] == "unreadable" and "over 8 MiB" in each["why"] for each in others)
        assert run.returncode in (2, 130)
        if run.returncode == 2:
            assert told.count("\n") == 1 and "over 8 MiB" in told
    else:
        assert not others
        assert run.returncode == 130
    if run.returncode == 130:
        assert "stopped; answers so far are kept" in told


def answers(store):
    """What a store's file holds, but for a line that is being written."""
    lines = store.read_text().split("\n")[:-1] if store.is_file() else []
    return [json.loads(line) for line in lines]


def readable(store):
    return [each for each in answers(store) if (each["text"], each["stop"]) == (TEXT, "end")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["content of a number", "401", "a page", "elsewhere", "a gzip bomb"]
)
def test_the_command_says_one_line(name, tmp_path, forking):
    with serving(name) as (url, _):
        words = ["m", "--on", "world", "--backend", "openai", "--base-url", url, "--limit", "2"]
        done = forking.run("evaluate", *words, "--quiet", cwd=tmp_path, env={"OPENAI_API_KEY": KEY})
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("toolrest: ") and KEY not in done.stderr


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def odd_replies(draw):
    """A right reply in which values at random places are others."""
    value = reply(tool_calls=[call(arguments=draw(st.sampled_from(['{"a": 1}', "[[", "NaN"])))])
    value["choices"][0]["text"] = "t"
    for _ in range(draw(st.integers(0, 3))):
        place = value
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.booleans()):
                place = place[key]
                continue
            place[key] = draw(JSON)
            break
    return value


@settings(max_examples=300)
@given(odd_replies() | JSON)
def test_any_reply_is_an_answer_that_is_kept_exactly_or_is_unreadable(value):
    value = json.loads(json.dumps(value))
    for made in (chat_answer, lambda v: completion_answer(v, ["</s>"], "")):
        try:
            answer = made(value)
        except Unreadable as error:
            assert str(error)
            continue
        written = json.dumps(asdict(answer), ensure_ascii=False, allow_nan=False).encode("utf-8")
        assert Answer(**json.loads(written)) == answer
        read(answer, get_dialect("hermes"))


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("[" * 300 + "]" * 300, "[" * 300 + "]" * 300),
        ('{"a": NaN}', '{"a": NaN}'),
        ('{"a": 1e999}', '{"a": 1e999}'),
        ("not JSON", "not JSON"),
        ("\ud800", "\ufffd"),
        (None, None),
        (5, 5),
    ],
)
def test_a_call_s_arguments_are_kept_as_far_as_they_can_be(arguments, found):
    answer = chat_answer(reply(tool_calls=[call("look", arguments, id=7)]))
    assert answer.calls == [{"name": "look", "arguments": found}]
    assert chat_answer(reply("\ud83d\ude00 \ud800")).text == "😀 \ufffd"


def test_a_connection_is_kept_for_the_next_request():
    opened = set()
    modes = lambda n: lambda client: (opened.add(client.getpeername()), client.sendall(data))  # noqa: E731
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    with serving(modes) as (url, _):
        backend = OpenAIBackend(Served("m", url), 5, at_once=1)
        prompts = [Request(f"{n}", Prompt([{"role": "user", "content": "x"}])) for n in range(10)]
        assert len(list(backend.answer(prompts))) == 10
    assert len(opened) == 1
