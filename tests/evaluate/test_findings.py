"""What a server does otherwise than it is asked: tools dropped, fields refused, the same failure
each time. It is said once, kept, and compared.
"""

import json
from pathlib import Path

import pytest
from hostile import fixed
from hostile import serving as serving_hostile
from server import Script, serving
from typer.testing import CliRunner

import toolrest
from toolrest.cli.main import app
from toolrest.data.wording import Prompt
from toolrest.errors import InputError
from toolrest.evaluate.backends.findings import Findings
from toolrest.evaluate.backends.hf import PromptCodec
from toolrest.evaluate.backends.openai import OpenAIBackend, Served
from toolrest.evaluate.episode import Request

POLICY = str(Path(toolrest.__file__).parent / "world" / "policy")
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, code=0):
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "250"})
    assert done.exit_code == code, done.output
    return done.output


def asked(url, *texts, tools=None, codec=None, **options):
    """(answers by text, what was noted, what was found)."""
    notes = []
    findings = Findings(notes.append)
    backend = OpenAIBackend(Served("m", url, **options), 50, 4, codec, findings)
    prompts = [Request(t, Prompt([{"role": "user", "content": t}], tools)) for t in texts]
    return dict(backend.answer(prompts)), notes, findings.record()


def codec():
    from toolrest.core.dialects import get_dialect
    from toolrest.policy.tokenizer import load_tokenizer
    from toolrest.recipe import Recipe

    return PromptCodec(load_tokenizer(Recipe()), get_dialect("rlla"), None)


def api_bank():
    """Three items of API-Bank with a tool, as options of the command."""
    system = (
        "S\nuse the following tools:\n1. Name: Book\nDescription: Books.\n"
        "Parameters: {'hotel': {'type': 'str'}}\n\n**Steps for Each Turn**"
    )
    user = "**Dialogue Records History**\n<user> Book it. </user>"
    row = {"system": system, "user": user, "answer": {"name": "Book", "parameters": {}}}
    for level in (1, 2, 3):
        Path(f"level-{level}-api_processed.json").write_text(json.dumps([row]))
    return "--on", "apibank", "--data", "."


@pytest.mark.parametrize(
    ("script", "known"),
    [
        (Script(drops_tools=True), "dropped"),
        (Script(), "listed"),
        (Script(counts=False), None),
        (Script(unknown=("tools",)), None),
    ],
)
def test_tools_that_a_template_drops_are_seen_by_the_prompt_s_tokens(script, known):
    """Before anything is asked that costs, once for all requests."""
    with serving(script) as url:
        if script.unknown:
            with pytest.raises(InputError, match="Unexpected fields: tools"):
                asked(url, "a", tools=[TOOL])
            return
        _, notes, found = asked(url, "a", "b", "c", tools=[TOOL])
    asks = [(body["max_tokens"], "tools" in body) for _, body in script.bodies]
    tried = [(1, True), (1, False)] if script.counts else [(1, True)]
    assert asks == tried + [(50, True)] * 3
    assert found.get("tools") == known
    assert len(notes) == (known == "dropped")
    if known == "dropped":
        assert "warning" in notes[0] and "7 tokens" in notes[0] and "--prompt plain" in notes[0]
        assert found["prompt_tokens"] == {"with_tools": 7, "without_tools": 7}


def test_without_tools_nothing_more_is_asked():
    script = Script(drops_tools=True)
    with serving(script) as url:
        _, notes, found = asked(url, "a", "b")
    assert (len(script.bodies), notes, found) == (2, [], {})


def test_dropped_tools_are_in_the_table_the_result_and_the_comparison():
    words = ("m", *api_bank(), "--backend", "openai", "--dialect", "hermes")
    for folder, script in (("a", Script(drops_tools=True)), ("b", Script())):
        with serving(script) as url:
            output = run(*words, "--base-url", url, "--out", folder, "--quiet")
        assert ("drops the tools" in output) == script.drops_tools
    results = [json.loads(Path(name, "result.json").read_text()) for name in "ab"]
    assert [each["server"]["tools"] for each in results] == ["dropped", "listed"]
    assert "drops the tools" in results[0]["server"]["warnings"][0]
    assert "warnings" not in results[1]["server"]
    compared = run("--compare", "a", "b")
    assert "tools in the server's prompts: 'dropped' and 'listed'" in compared


def test_findings_stay_with_answers_that_are_there_already():
    words = ("m", *api_bank(), "--backend", "openai", "--dialect", "hermes", "--out", "a")
    with serving(Script(drops_tools=True)) as url:
        run(*words, "--base-url", url)
        found = json.loads(Path("a/result.json").read_text())
        Path("a/result.json").unlink()
        assert "drops the tools" in run(*words, "--base-url", url)
    assert json.loads(Path("a/result.json").read_text()) == found


@pytest.mark.parametrize(
    "refusal",
    [
        (422, {"detail": "Unexpected fields: %s"}),
        (400, {"error": {"message": "Unrecognized request argument supplied: %s"}}),
        (422, {"detail": [{"loc": ["body", "%s"], "msg": "Extra inputs", "input": {"a": 1}}]}),
    ],
)
def test_a_field_that_a_server_does_not_know_is_left_out_and_said_once(refusal):
    script = Script(unknown=("skip_special_tokens", "stop_token_ids"), refusal=refusal)
    with serving(script) as url:
        answers, notes, found = asked(url, *"abcdefgh", codec=codec())
    assert {answer.text for answer in answers.values()} == {"I am done."}
    assert len(notes) == 2
    assert "does not know skip_special_tokens" in notes[0] and "may be missing" in notes[0]
    assert found["left_out"] == ["skip_special_tokens", "stop_token_ids"]
    assert found["warnings"] == sorted(notes)


@pytest.mark.slow
def test_what_was_left_out_is_compared_and_left_out_again():
    words = ("m", "--limit", 4, "--backend", "openai", "--api", "completions")
    for folder, script in (("a", Script(unknown=("skip_special_tokens",))), ("b", Script())):
        with serving(script) as url:
            more = ("--base-url", url, "--tokenizer", POLICY, "--out", folder)
            output = run(*words, *more)
            assert ("skip_special_tokens" in output) == bool(script.unknown)
            Path(folder, "answers.jsonl").write_text("")
            script.bodies.clear()
            run(*words, *more)
        assert all(("skip_special_tokens" in b) == (not script.unknown) for _, b in script.bodies)
    compared = run("--compare", "a", "b")
    assert "fields that it does not know: ['skip_special_tokens'] and None" in compared


def test_a_newer_name_of_a_field_is_taken():
    words = "Unsupported parameter: '%s' is not supported; use 'max_completion_tokens' instead."
    script = Script(unknown=("max_tokens",), refusal=(400, {"error": {"message": words}}))
    with serving(script) as url:
        answers, _, found = asked(url, "a")
    assert answers["a"].text == "Done." and found == {}
    assert script.bodies[-1][1]["max_completion_tokens"] == 50


def test_a_field_that_the_user_asked_for_is_not_left_out():
    script = Script(unknown=("chat_template_kwargs",))
    with serving(script) as url, pytest.raises(InputError, match=r"--template-option .* leave it"):
        asked(url, "a", template_options={"enable_thinking": False})
    assert len(script.bodies) == 1


def test_what_a_refusal_repeats_of_the_request_is_not_read():
    """Neither as a field's name nor as a prompt that is too long; the message is what is shown."""
    repeated = {"prompt": "it is too long", "skip_special_tokens": False}
    fault = {"type": "missing", "loc": ["body", "best_of"], "msg": "Field required"}
    mode = fixed({"detail": [fault | {"input": repeated}]}, "422 No")
    with serving_hostile(lambda n: mode) as (url, served), pytest.raises(InputError) as caught:
        asked(url, "a", codec=codec())
    assert "body.best_of: Field required" in str(caught.value)
    assert len(served.requests) == 1


def test_no_part_of_a_key_is_left_where_a_refusal_is_cut(monkeypatch):
    """Keys go before the message is cut, which would leave the half of one."""
    other = "hf_" + "x" * 30
    said = {"error": {"message": f"{'.' * 185} my-secret-key-of-many-letters {other}"}}
    mode = fixed(said, "400 No")
    with serving_hostile(lambda n: mode) as (url, _), pytest.raises(InputError) as caught:
        asked(url, "a", api_key="my-secret-key-of-many-letters")
    assert "my-secret" not in str(caught.value) and "hf_x" not in str(caught.value)
    assert "***" in str(caught.value)


@pytest.fixture
def quick(monkeypatch):
    """Waits between tries take no time."""
    monkeypatch.setattr(
        "toolrest.evaluate.backends.connection.Limits.wait", lambda self, seconds: None
    )


def test_an_item_at_which_a_server_fails_each_time_is_one_wrong_item(quick):
    """A tool parser that cannot read what the model wrote: three tries, whatever the request's
    number in the message, and the run goes on.
    """
    script = Script(broken="bad")
    with serving(script) as url:
        answers, _, _ = asked(url, "good", "bad", "also good")
    assert {key: answer.stop for key, answer in answers.items()} == {
        "good": "end",
        "bad": "unreadable",
        "also good": "end",
    }
    assert "500 each time: cannot read the call" in answers["bad"].why
    assert len([body for _, body in script.bodies if "bad" in json.dumps(body)]) == 3


def test_a_server_that_fails_at_all_items_ends_the_run_with_its_words(quick):
    script = Script(broken="You can use these tools")
    with serving(script) as url:
        words = ("m", "--limit", 2, "--backend", "openai", "--base-url", url, "--out", "a")
        output = run(*words, code=2)
    assert "500 each time: cannot read the call" in output
    assert not Path("a/result.json").exists()


def test_a_server_that_fails_at_anything_is_no_wrong_item(quick):
    """It broke down after the first answers: the rest is asked again next time."""
    words = ("m", "--limit", 6, "--backend", "openai", "--batch-size", 1, "--out", "a")
    good = fixed({"choices": [{"message": {"content": "Done."}, "finish_reason": "stop"}]})
    dead = fixed({"error": {"message": "EngineDeadError"}}, "500 Oh")
    with serving_hostile(lambda n: good if n < 4 else dead) as (url, _):
        output = run(*words, "--base-url", url, code=2)
    assert "it answers 500 (EngineDeadError)" in output
    assert len(Path("a/answers.jsonl").read_text().splitlines()) == 4
    with serving_hostile(lambda n: good) as (url, _):
        run(*words[:-1], "b", "--base-url", url)
    assert len(Path("b/answers.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("status", "more"),
    [
        *((each, {}) for each in ("503 Busy", "502 Bad Gateway", "429 Slow", "425 Early")),
        ("500 Oh", {"Retry_After": 1}),
    ],
)
def test_a_busy_server_is_asked_again_however_often_it_says_so(status, more, quick):
    busy = fixed({"error": "busy"}, status, **more)
    good = fixed({"choices": [{"message": {"content": "Done."}, "finish_reason": "stop"}]})
    with serving_hostile(lambda n: busy if n < 6 else good) as (url, _):
        answers, _, _ = asked(url, "a")
    assert answers["a"].text == "Done."


def test_failures_in_other_words_are_tried_again(quick):
    good = fixed({"choices": [{"message": {"content": "Done."}, "finish_reason": "stop"}]})
    said = ("memory", "memory", "weights", "memory", "memory")
    modes = [fixed({"error": f"no {word} left"}, "500 Oh") for word in said] + [good]
    with serving_hostile(lambda n: modes[n]) as (url, _):
        answers, _, _ = asked(url, "a")
    assert answers["a"].text == "Done."


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "[" * 100_000,
            "[]",
            "null",
            '{"left_out": 5, "tools": {}}',
            '{"left_out": [[], {}]}',
        ),
        '{"left_out": ["model", "messages", "temperature"]}',
        '{"tools": "dropped", "prompt_tokens": {"with_tools": "7", "without_tools": []}}',
        '{"tools": "dropped", "prompt_tokens": 5, "warnings": ["\\u001b[2J"]}',
    ],
)
def test_findings_that_somebody_else_wrote_leave_nothing_out(tmp_path, text):
    (tmp_path / "server.json").write_text(text)
    findings = Findings()
    findings.load(tmp_path)
    assert findings.record() == {}
    request = {"model": "m", "messages": [], "temperature": 0.0, "skip_special_tokens": False}
    assert findings.fitted(request) == request
