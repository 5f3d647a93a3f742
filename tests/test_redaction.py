"""Keys in the environment, on the command line and in addresses reach no file and no message."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.errors import InputError
from toolrest.naming import file_name
from toolrest.recipe import load_recipe
from toolrest.redaction import HIDDEN, redacted, redacted_command
from toolrest.runs import describe_environment
from toolrest.study.plan import CompareFolder, load_plan

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
    monkeypatch.setattr("toolrest.training._WORLD_TRAIN_SAMPLES", 64)
    found = CliRunner().invoke(app, ["train", *words])
    assert found.exit_code == 0, found.output
    run = tmp_path / "runs" / "made"
    command = json.loads((run / "environment.json").read_text())["command"]
    assert command == ["toolrest", "train", *words, "--api-key", HIDDEN, f"x://{HIDDEN}@h"]
    assert (run / "report.html").is_file()
    assert_no_keys(tmp_path)
    assert not any(value in found.output for value in KEYS.values())


def test_what_a_model_says_holds_no_keys_either(tmp_path):
    from toolrest.evaluate.answers import AnswerStore
    from toolrest.evaluate.episode import Answer
    from toolrest.files import append_json, write_whole

    with AnswerStore(tmp_path / "e", {}) as store:
        store.add("a", Answer(f"your key is {KEYS['HF_TOKEN']}", "end"))
    append_json(tmp_path / "metrics.jsonl", {"said": KEYS["WANDB_API_KEY"]})
    write_whole(tmp_path / "x.txt", KEYS["MY_SERVICE_PASSWORD"])
    assert_no_keys(tmp_path)


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
