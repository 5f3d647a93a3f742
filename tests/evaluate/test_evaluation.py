"""`toolrest evaluate` from end to end, with the embedded policy."""

import json
import resource
import shutil
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

import toolrest
from toolrest.cli.main import app
from toolrest.errors import InputError
from toolrest.evaluate.results import compare
from toolrest.evaluate.target import find_target
from toolrest.recipe import Data, Recipe, dump_recipe

POLICY = Path(toolrest.__file__).parent / "world" / "policy"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, code=0):
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output
    return done.output


def result(folder):
    return json.loads((Path(folder) / "result.json").read_text())


def test_the_world_is_evaluated_and_goes_on_where_it_was(monkeypatch):
    output = run("embedded", "--limit", 6, "--out", "a")
    found = result("a")
    assert found["all"]["n"] == 6
    assert "reward" in output and "failures" in output
    answers = Path("a/answers.jsonl").read_text()
    Path("a/answers.jsonl").write_text("".join(answers.splitlines(keepends=True)[:4]) + '{"key": ')
    run("embedded", "--limit", 6, "--out", "a")
    assert sorted(Path("a/answers.jsonl").read_text().splitlines()) == sorted(answers.splitlines())
    assert result("a") == found
    failures = [json.loads(line) for line in Path("a/failures.jsonl").read_text().splitlines()]
    assert len(failures) == 6 - found["all"]["correct"]
    assert all(row["check"] and row["got"]["text"] for row in failures)
    assert "You can use these tools" in Path("a/prompt.txt").read_text()


def test_a_greedy_answer_is_that_of_a_training_runs_evaluation():
    """The same text, item by item, as `evaluate_heldout` gives."""
    from toolrest.evaluate.heldout import evaluate_heldout
    from toolrest.policy.tokenizer import load_tokenizer
    from toolrest.policy.weights import load_policy
    from toolrest.world.tasks import Split, make_samples

    run("embedded", "--limit", 5, "--out", "a")
    recipe = Recipe()
    samples = make_samples(Split.HELDOUT, 5)
    _, rows = evaluate_heldout(
        load_policy(recipe), load_tokenizer(recipe), samples, recipe, lambda done: None
    )
    greedy = {r["identity"]: r["response"] for r in rows if r["decoding"] == "greedy"}
    answers = map(json.loads, Path("a/answers.jsonl").read_text().splitlines())
    assert {a["key"].rsplit("/", 2)[0]: a["text"] for a in answers} == greedy


@pytest.mark.slow
def test_every_bfcl_category_goes_through(tmp_path):
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed")
    output = run(
        *("embedded", "--on", "bfcl", "--limit", 1, "--max-tokens", 8, "--out", "b"),
        *("--result-files", "--version", "v4"),
    )
    found = result("b")
    assert len(found["categories"]) == 17
    assert found["means"] == {}
    assert found["settings"]["prompt"] == "rlla"
    assert sum(found["all"]["statuses"].values()) >= 17
    assert "bfcl evaluate" in output
    assert len(list(Path("b/official/result").rglob("*_result.json"))) == 17
    assert "v3" in run("embedded", "--on", "bfcl", "--version", "v3", code=2)


def test_api_bank_needs_its_files_and_a_prompt_that_fits(tmp_path):
    assert "--data FOLDER" in run("embedded", "--on", "apibank", code=2)
    row = {"system": "S", "user": "U " * 3000, "answer": {"name": "f", "parameters": {}}}
    for level in (1, 2, 3):
        Path(f"level-{level}-api_processed.json").write_text("[]")
    assert "no item" in run("embedded", "--on", "apibank", "--data", ".", code=2)
    for level in (1, 2, 3):
        Path(f"level-{level}-api_processed.json").write_text(json.dumps([row]))
    run("embedded", "--on", "apibank", "--data", ".", "--out", "c", "--max-tokens", 8)
    assert result("c")["all"]["statuses"] == {"too_long": 3}
    assert result("c")["categories"]["level-2"]["whole"] is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a policy"),
        (("embedded", "--on", "bcfl"), "did you mean 'bfcl'"),
        (("embedded", "--limit", 0), "--limit 0"),
        (("embedded", "--batch-size", 0), "--batch-size 0"),
        (("embedded", "--max-tokens", 5000), "--max-tokens 5000"),
        (("embedded", "--categories", "x"), "--categories"),
        (("embedded", "--max-prompt-tokens", -5), "--max-prompt-tokens -5"),
        (
            ("x", "--backend", "openai", "--base-url", "u", "--max-prompt-tokens", 5),
            "the server decides",
        ),
        (("no/such/folder",), "no such folder"),
        (("x", "--backend", "openai"), "--base-url"),
        (("embedded", "--dialect", "hermes"), "rlla"),
        (("x", "--backend", "openai", "--base-url", "u", "--on", "bfcl"), "--dialect"),
        (
            ("x", "--backend", "openai", "--base-url", "u", "--api", "completions", "--on", "bfcl"),
            "--tokenizer",
        ),
        (("embedded", "--on", "bfcl", "--prompt", "plian"), "did you mean 'plain'"),
        (("embedded", "--think"), "ask for a thought in their own way"),
        (("embedded", "--on", "bfcl", "--categories", "liv"), "did you mean 'live'"),
        (("--compare", "a", "b"), "no evaluation is there"),
        (("embedded", "--compare", "a", "b"), "no policy"),
    ],
)
def test_wrong_input_is_one_line(arguments, words):
    output = run(*arguments, code=2)
    assert words in output
    assert "Traceback" not in output
    assert not Path("evaluations").exists()


def test_vllm_is_asked_for_by_name_and_fed_ids(monkeypatch):
    """A stand-in with vLLM's interface: what is sent, and what is made of the answer."""
    assert "toolrest[vllm]" in run("embedded", "--backend", "vllm", code=2)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(POLICY)
    sent = {}

    class LLM:
        def __init__(self, **options):
            sent["options"] = options
            config = types.SimpleNamespace(max_model_len=4096)
            self.llm_engine = types.SimpleNamespace(model_config=config)

        def generate(self, prompts, sampling, use_tqdm):
            sent["prompts"], sent["sampling"] = prompts, sampling
            ids = tokenizer("<think> t </think>", add_special_tokens=False)["input_ids"]
            output = types.SimpleNamespace(token_ids=ids, finish_reason="stop")
            return [types.SimpleNamespace(outputs=[output]) for _ in prompts]

    stand_in = types.ModuleType("vllm")
    stand_in.LLM, stand_in.SamplingParams = LLM, lambda **options: options
    stand_in.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "vllm", stand_in)
    monkeypatch.setattr("toolrest.evaluate.backends.vllm.find_spec", lambda name: stand_in)
    run("embedded", "--backend", "vllm", "--limit", 2, "--out", "v")
    assert sent["sampling"]["temperature"] == 0.0
    assert sent["options"]["trust_remote_code"] is False
    assert sent["options"]["dtype"] == result("v")["settings"]["dtype"] == "float32"
    run("embedded", "--backend", "vllm", "--limit", 1, "--out", "w", "--dtype", "bfloat16")
    assert sent["options"]["dtype"] == result("w")["settings"]["dtype"] == "bfloat16"
    assert all(isinstance(t, int) for p in sent["prompts"] for t in p["prompt_token_ids"])
    answers = map(json.loads, Path("v/answers.jsonl").read_text().splitlines())
    assert {a["text"] for a in answers} == {"<think> t </think>"}


def a_run(steps, exact=()):
    """A run's folder with whole checkpoints of those steps, all the embedded policy."""
    folder = Path("runs/a")
    for step in steps:
        target = folder / "checkpoints" / f"checkpoint-{step}"
        shutil.copytree(POLICY, target)
        sizes = {file.name: file.stat().st_size for file in target.iterdir()}
        (target / "toolrest_state.json").write_text(json.dumps({"files": sizes}))
    (folder / "recipe.yaml").write_text(dump_recipe(Recipe()))
    (folder / "evaluation").mkdir()
    points = [{"step": step, "exact_match": value} for step, value in exact]
    (folder / "evaluation" / "curve.jsonl").write_text(
        "".join(json.dumps(p) + "\n" for p in points)
    )
    return folder


def test_a_run_stands_for_a_whole_checkpoint_of_it():
    folder = a_run([2, 4, 10, 12], exact=[(2, 0.9), (3, 1.0), (4, 1.0), (10, 0.5)])
    for step in (4, 12):  # not written whole
        (folder / "checkpoints" / f"checkpoint-{step}" / "model.safetensors").write_bytes(b"")
    assert find_target(str(folder)).recipe.policy.endswith("checkpoint-10")
    assert find_target(str(folder), "best").recipe.policy.endswith("checkpoint-2")
    assert find_target(str(folder), "2").recipe.policy.endswith("checkpoint-2")
    with pytest.raises(InputError, match="one of 2, 10"):
        find_target(str(folder), "3")
    curve = folder / "evaluation" / "curve.jsonl"
    whole = curve.read_text()
    curve.write_text(whole + '{"step": 12, "exa')
    assert find_target(str(folder), "best").recipe.policy.endswith("checkpoint-2")
    curve.write_text("[1]\n" + whole)
    with pytest.raises(InputError, match="a broken line"):
        find_target(str(folder), "best")
    curve.write_text(whole)
    run(folder, "--limit", 2, "--checkpoint", "best")
    (made,) = folder.glob("evaluation/checkpoint-2-world-*")
    assert result(made)["all"]["n"] == 2


def test_a_checkpoint_of_what_has_none_is_refused():
    folder = a_run([2])
    for name in ("embedded", str(POLICY), str(folder / "checkpoints" / "checkpoint-2")):
        with pytest.raises(InputError, match=r"--checkpoint 7: .* is no run's folder"):
            find_target(name, "7")
    words = ("evaluate", "a", "--backend", "openai", "--base-url", "http://127.0.0.1:9")
    done = CliRunner().invoke(app, [*words, "--checkpoint", "7"])
    assert done.exit_code == 2 and "the policy is the server's" in done.stderr


def test_compare_gives_paired_differences(tmp_path):
    for name, right in (("a", [0, 0, 0, 1]), ("b", [1, 1, 0, 1])):
        folder = Path(name)
        folder.mkdir()
        (folder / "settings.json").write_text('{"benchmark": "world", "version": null}')
        rows = [
            {"identity": str(i), "category": "calls", "correct": bool(r)}
            for i, r in enumerate(right)
        ]
        (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = run("--compare", "a", "b")
    assert "+50.00%" in output
    assert "0.500" in output
    Path("b/settings.json").write_text('{"benchmark": "bfcl", "version": null}')
    assert "not of one benchmark" in run("--compare", "a", "b", code=2)


@pytest.mark.parametrize(
    ("trained", "flag", "asked"),
    [
        (True, None, True),
        (True, "--no-think", False),
        (False, None, False),
        (False, "--think", True),
    ],
)
def test_a_plain_prompt_asks_for_a_thought_as_in_training_or_as_told(trained, flag, asked):
    folder = a_run([2], exact=[])
    recipe = Recipe(dialect="hermes", data=Data(path="rows.jsonl", think=trained))
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))
    row = {"system": "S", "user": "U", "answer": {"name": "f", "parameters": {}}}
    for level in (1, 2, 3):
        Path(f"level-{level}-api_processed.json").write_text(json.dumps([row]))
    told = ("--on", "apibank", "--data", ".", "--out", "c", "--max-tokens", 8, "--prompt", "plain")
    run(folder, "--checkpoint", 2, *told, *([flag] if flag else []))
    assert ("First think" in Path("c/prompt.txt").read_text()) == asked
    assert json.loads(Path("c/settings.json").read_text()).get("think", False) == asked


def test_brackets_in_paths_are_shown_as_they_are():
    assert "x[/b]y" in run("embedded", "--limit", 1, "--out", "x[/b]y")


def test_a_checkpoints_own_generation_settings_are_left_aside():
    """A repetition penalty would make greedy another thing with generate than without."""
    import torch
    from transformers import GenerationConfig

    from toolrest.policy.tokenizer import load_tokenizer
    from toolrest.policy.weights import load_policy
    from toolrest.rollout.generate import generate_batch

    model, tokenizer = load_policy(Recipe()), load_tokenizer(Recipe())
    prompts = [tokenizer("You can use these tools")["input_ids"]]
    plain = generate_batch(model, tokenizer, prompts, 24, None, [2])
    model.generation_config = GenerationConfig(repetition_penalty=5.0, no_repeat_ngram_size=1)
    assert generate_batch(model, tokenizer, prompts, 24, None, [2]) == plain
    assert model.generation_config.repetition_penalty == 5.0
    torch.manual_seed(0)


def test_a_fingerprint_sees_the_middle_of_the_weights_and_the_template(tmp_path):
    import shutil

    from toolrest.runs.origins import fingerprint

    folder = tmp_path / "policy"
    shutil.copytree(POLICY, folder)
    first = fingerprint(folder)
    assert fingerprint(folder) == first
    (folder / "chat_template.jinja").write_text("other")
    second = fingerprint(folder)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2 - 40_000 : len(data) // 2 + 40_000] = bytes(80_000)
    weights.write_bytes(data)
    assert len({first, second, fingerprint(folder)}) == 3


@pytest.mark.slow
def test_a_disk_that_is_full_on_the_way_is_one_line_and_the_answers_are_kept(tmp_path, forking):
    """No file may grow over eight kibibytes, which is a full disk to whoever writes."""
    words = "evaluate embedded --on world --limit 60 --batch-size 4 --quiet --out"
    begun = forking.start(*words.split(), "e", cwd=tmp_path)
    resource.prlimit(begun.pid, resource.RLIMIT_FSIZE, (8192, 8192))
    full = begun.completed(300)
    assert full.returncode == 2 and full.stderr.count("\n") == 1, full.stderr
    assert "answers.jsonl: cannot be written" in full.stderr
    kept = (tmp_path / "e" / "answers.jsonl").read_bytes()
    assert kept.endswith(b"\n") and kept.count(b"\n") >= 1
    for folder in ("e", "straight"):
        done = forking.run(*words.split(), folder, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    one, other = (
        sorted((tmp_path / folder / "answers.jsonl").read_bytes().split(b"\n"))
        for folder in ("e", "straight")
    )
    assert one == other
    results = [(tmp_path / folder / "result.json").read_bytes() for folder in ("e", "straight")]
    assert results[0] == results[1]


SCORE = {"identity": "a", "category": "c", "correct": True}


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        "[]",
        *(json.dumps(SCORE | {"identity": odd}) for odd in ([], {}, 1, None)),
        *(json.dumps(SCORE | {"category": odd}) for odd in (["c"], {}, 1, None)),
        *(json.dumps(SCORE | {"correct": odd}) for odd in ([], "x", None)),
    ],
)
def test_scores_that_somebody_else_wrote_are_refused_in_a_line(tmp_path, line):
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "scores.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match="no finished evaluation is there"):
        compare(tmp_path, tmp_path)


def test_settings_too_deep_are_no_evaluation(tmp_path):
    (tmp_path / "settings.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="no evaluation is there"):
        compare(tmp_path, tmp_path)
