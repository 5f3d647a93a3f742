"""Keys in the environment, on the command line and in addresses reach no file and no message."""

import json
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.core.dialects import get_dialect
from toolrest.data.decompose import Rendering
from toolrest.data.sample import Sample
from toolrest.errors import InputError, file_name
from toolrest.experiments.plan import CompareFolder, load_plan
from toolrest.io.files import append_json, write_json, write_whole
from toolrest.io.redaction import HIDDEN, first_line, key_in, redacted, redacted_command
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import Recipe, load_recipe
from toolrest.runs.environment import describe_environment

KEYS = {
    "OPENAI_API_KEY": "sk-proj-0123456789abcdefghij",
    "HF_TOKEN": "hf_0123456789abcdefghij",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "MY_SERVICE_PASSWORD": "correct horse battery staple",
}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("toolrest.evaluate.backends.openai._TRIES", 0)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def assert_no_keys(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        for value in (*KEYS.values(), "hunter2"):
            assert value.encode() not in data, path


def test_a_run_holds_no_keys(tmp_path, monkeypatch):
    words = ["max_steps=1", "save_steps=1", "rollout.prompts_per_step=2", "rollout.group_size=2"]
    words += ["rollout.max_response_tokens=8", "evaluation.samples=2", "name=made"]
    told = ["toolrest", "train", *words, "--api-key", KEYS["WANDB_API_KEY"], "x://u:hunter2@h"]
    monkeypatch.setattr("sys.argv", told)
    monkeypatch.setattr("toolrest.engines.common.data._WORLD_TRAIN_SAMPLES", 64)
    found = CliRunner().invoke(app, ["train", *words])
    assert found.exit_code == 0, found.output
    run = tmp_path / "runs" / "made"
    command = json.loads((run / "environment.json").read_text())["command"]
    assert command == ["toolrest", "train", *words, "--api-key", HIDDEN, f"x://{HIDDEN}@h"]
    assert (run / "report.html").is_file()
    assert_no_keys(tmp_path)
    assert not any(value in found.output for value in KEYS.values())


def writers(folder):
    """Every way in which data get into a file, by name: what it takes is one text."""
    from toolrest.data.prepare import prepare
    from toolrest.data.sources import Source
    from toolrest.engines.common.reward import ToolReward
    from toolrest.engines.verl.rows import write_rows
    from toolrest.evaluate.answers import AnswerStore
    from toolrest.evaluate.episode import Answer, Outcome
    from toolrest.evaluate.results import write_results
    from toolrest.evaluate.score_file import score_file

    def answer(**parts):
        with AnswerStore(folder / "e", {}) as store:
            store.add("a", Answer(**({"text": "", "stop": "end"} | parts)))

    def prepared(text):
        source = folder.parent / "source.jsonl"
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "b"}]
        source.write_text(json.dumps({"messages": turns}) + "\n")
        rendering = Rendering("hermes", "template", "none", think=False)
        prepare([Source(str(source))], rendering, folder / "p.parquet", 0)

    def scored(text):
        source = folder.parent / "rollouts.jsonl"
        source.write_text(json.dumps({"response": "", "ground_truth": "", "identity": text}))
        score_file(source, ToolReward("rlla", "constant"), folder / "out.jsonl")

    def verl(text):
        sample = Sample(({"role": "user", "content": text},), "g", "s", "i")
        tokenizer = load_tokenizer(Recipe())
        write_rows(
            [sample], folder / "v.parquet", tokenizer, get_dialect("rlla"), written_out=False
        )

    return {
        "an answer": lambda text: answer(text=f"your key is {text}"),
        "a call": lambda text: answer(calls=[{"name": "f", "arguments": {text: [text]}}]),
        "a call's text": lambda text: answer(calls=[{"arguments": json.dumps({"a": text})}]),
        "a call in the text": lambda text: answer(text=json.dumps({"a": text})),
        "append_json": lambda text: append_json(folder / "m.jsonl", {"said": text}),
        "write_json": lambda text: write_json(folder / "x.json", {"a": [text]}),
        "write_whole": lambda text: write_whole(folder / "x.txt", f"a {text} b"),
        "lines": lambda text: write_whole(folder / "x.jsonl", json.dumps({"a": text}) + "\n"),
        "failures": lambda text: write_results(
            folder, {}, [Outcome("i", "c", False, "x", "e", {"text": text}, (), ())]
        ),
        "prepared rows": prepared,
        "scores": scored,
        "verl's rows": verl,
    }


ODD = ('a"b\\c-0123456789', "clé-sécrète-42é9f8a7", "two\nlines-0123456789", "a\u2028b0123456789")
WRITERS = tuple(writers(Path()))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("key", [*KEYS.values(), *ODD])
def test_data_with_a_key_is_refused_and_not_rewritten(name, key, tmp_path, monkeypatch):
    """No file holds it, nor a part of it; the variable is named, its value is not."""
    variable = next((known for known, value in KEYS.items() if value == key), "ODD_API_KEY")
    monkeypatch.setenv(variable, key)
    folder = tmp_path / "made"
    folder.mkdir()
    with pytest.raises(InputError, match=f"of the variable {variable}.*unset {variable}") as found:
        writers(folder)[name](key)
    parts = (key, key[-10:])
    assert not any(part in str(found.value) for part in parts)
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
            assert not any(part in text or json.dumps(part)[1:-1] in text for part in parts), path


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=12
    ).filter(lambda text: len(text.strip()) >= 12),
    name=st.sampled_from([name for name in WRITERS if name not in ("verl's rows", "failures")]),
)
def test_any_key_is_refused_by_every_writer(key, name, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", key)
        folder = tmp_path_factory.mktemp("keys") / "made"
        folder.mkdir()
        with pytest.raises(InputError, match="OPENAI_API_KEY"):
            writers(folder)[name](key)


@given(key=st.text(min_size=12).filter(lambda text: "\0" not in text and len(text.strip()) >= 12))
def test_an_error_holds_no_key_however_it_writes_it(key):
    try:
        key.encode()
    except UnicodeEncodeError:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", key)
        for form in (key, json.dumps(key), json.dumps(key, ensure_ascii=False), repr({"a": key})):
            said = first_line(ValueError(f"bad key {form} at {quote(key, safe='')}"), 10_000)
            assert key not in said and json.dumps(key)[1:-1] not in said
            assert said.startswith("bad key")


MARKS = (
    *("</tool_call>", "<|im_start|>assistant\n", "<|reserved_special_token_12|>", "[/TOOL_CALLS]"),
    *("<｜tool▁calls▁begin｜>", "</think>\n\n<tool_call>", '<tool_call>\n{"name": "'),
    *("created_at_desc", "getUserAccountBalance", "HTTPServerError", "Get the weather in Paris"),
    *("/home/me/.ssh/id_rsa", "Qwen/Qwen3-1.7B", "llama-3.2-8b-instruct", "2024-11-05T12:00:00Z"),
)


@pytest.mark.parametrize("value", MARKS)
@pytest.mark.parametrize("variable", ["STOP_TOKEN", "SORT_KEY"])
def test_a_word_or_a_mark_is_no_key(value, variable, tmp_path, monkeypatch):
    monkeypatch.setenv(variable, value)
    assert key_in(f"a {value} b") is None
    write_whole(tmp_path / "a.txt", f"a {value} b")
    assert (tmp_path / "a.txt").read_bytes().decode() == f"a {value} b"
    append_json(tmp_path / "a.jsonl", {"a": value})
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {"a": value}


@pytest.mark.parametrize("value", ["EMPTY", "none", "token"])
def test_a_local_server_s_key_may_be_a_word(value, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", value)
    assert key_in(f"an {value} list") is None


def test_an_evaluation_with_a_mark_in_the_environment_is_the_same_twice(tmp_path, monkeypatch):
    """STOP_TOKEN once stood in the answers as ***, and the second run found no call in them."""
    monkeypatch.setenv("STOP_TOKEN", "</tool_call>")
    words = ["evaluate", "embedded", "--limit", "4", "--out", "e"]
    results = []
    for _ in range(2):
        found = CliRunner().invoke(app, words)
        assert found.exit_code == 0, found.output
        results.append(json.loads((tmp_path / "e" / "result.json").read_text()))
    assert results[0] == results[1]
    assert HIDDEN not in (tmp_path / "e" / "answers.jsonl").read_text()
    assert "</tool_call>" in (tmp_path / "e" / "answers.jsonl").read_text()


@pytest.mark.parametrize("code", [200, 400, 401, 404])
def test_an_endpoint_that_repeats_the_key_is_said_to(code, tmp_path, monkeypatch):
    """In its answer, or in its error, as JSON writes it."""
    pytest.importorskip("openai", reason="the openai package is not installed")
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    key = 'a"b\\c-0123456789'
    monkeypatch.setenv("OPENAI_API_KEY", key)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            message = {"role": "assistant", "content": f"it is {key}"}
            made = {"id": "x", "choices": [{"message": message, "finish_reason": "stop"}]}
            data = json.dumps(made if code == 200 else {"error": {"message": key * 50}}).encode()
            self.send_response(code, "said")
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Key", key)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    words = ["--backend", "openai", "--base-url", url, "--limit", "2", "--dialect", "rlla"]
    found = CliRunner().invoke(app, ["evaluate", "m", *words])
    server.shutdown()
    server.server_close()
    assert found.exit_code == 2
    assert "Traceback" not in found.output
    assert "0123456789" not in found.output
    assert ("OPENAI_API_KEY" in found.output) == (code in (200, 401))
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"0123456789" not in path.read_bytes(), path


@pytest.mark.parametrize(
    "written",
    [
        "rollout.vllm.server=http://u:hunter2@host:8000",
        f"policy={KEYS['HF_TOKEN']}",
        "engine={name: verl, options: {trainer.api_key: hunter2hunter2}}",
        "engine={name: verl, options: {a: [sk-0123456789abcdefghij]}}",
        f"data.path={KEYS['MY_SERVICE_PASSWORD']}",
    ],
)
def test_a_recipe_with_a_key_is_refused_and_not_repeated(written):
    with pytest.raises(InputError, match="must not hold") as caught:
        load_recipe(None, [written])
    assert written.partition("=")[2] not in str(caught.value)


def test_an_address_with_a_password_is_not_repeated(tmp_path):
    words = ["--backend", "openai", "--base-url", "http://u:hunter2@127.0.0.1:9/v1"]
    found = CliRunner().invoke(app, ["evaluate", "m", *words, "--limit", "1", "--dialect", "rlla"])
    assert "hunter2" not in found.output
    assert (tmp_path / "evaluations").is_dir()
    assert_no_keys(tmp_path)


def test_what_is_no_key_stays():
    plain = ["rollout.max_response_tokens=5", "http://host:8000/v1", "name=sk-1", "--quiet"]
    assert redacted_command(plain) == plain
    assert redacted("user@host says hello") == "user@host says hello"
    assert describe_environment(0)["seed"] == 0


@pytest.mark.parametrize(
    "name", ["..", ".", "../../x", "/etc/x", "a/../../b", "", "a\0b", "x" * 999]
)
def test_a_name_that_others_chose_is_one_part_of_a_path(name):
    made = Path("runs") / file_name(name)
    assert made.parent == Path("runs")
    made.mkdir(parents=True)
    assert made.resolve().parent == Path("runs").resolve()


@pytest.mark.parametrize("scheme", ["../../x", "/x", ".."])
def test_a_run_s_folder_stays_below_runs(scheme, tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = CliRunner().invoke(app, ["train", f"weighting.scheme={scheme}"])
        assert found.exit_code == 2
        words = ["--backend", "openai", "--base-url", "http://127.0.0.1:9/v1", "--dialect", "rlla"]
        CliRunner().invoke(app, ["evaluate", "..", *words, "--limit", "1"])
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert {path.name for path in folder.iterdir()} <= {"runs", "evaluations"}


@pytest.mark.parametrize("part", ["seeds: ['/../../x']", "methods: {../x: []}", "threads: x"])
def test_a_plan_that_names_other_folders_is_refused(part, tmp_path):
    lines = {"recipe": "{}", "methods": "{grpo: []}", "seeds": "[0]", "baseline": "grpo"}
    lines |= {"threads": "1", part.partition(":")[0]: part.partition(":")[2]}
    (tmp_path / "compare.yaml").write_text("".join(f"{k}: {v}\n" for k, v in lines.items()))
    with pytest.raises(InputError, match="not the plan"):
        load_plan(CompareFolder(tmp_path))
