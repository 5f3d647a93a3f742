"""`toolrest data` and training on what it makes, as a user types it."""

import json
from pathlib import Path

import pytest
from chat_templates import shipped
from test_formats import MESSAGES, TOOLACE, XLAM
from typer.testing import CliRunner

import toolrest
from toolrest.cli.main import app
from toolrest.engines.common.run_rows import run_samples
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import load_recipe


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def lines(name, rows):
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def mixture():
    """The paper's mixture in four lines, small."""
    lines("toolace.jsonl", [TOOLACE] * 4)
    lines("xlam.jsonl", [XLAM | {"query": f"q{n}"} for n in range(9)])
    Path("recipe.yaml").write_text(
        "data:\n  sources:\n"
        "    - {path: toolace.jsonl, take: 4}\n"
        "    - {path: xlam.jsonl, take: 2, mask: 1}\n"
        "    - {path: xlam.jsonl, take: 3}\n"
    )


def test_a_mixture_is_prepared_checked_and_shown():
    mixture()
    output = run("data", "prepare", "recipe.yaml", "--output", "train.parquet")
    assert "toolace.jsonl: 4 samples" in output
    assert "9 samples in train.parquet; train.parquet.manifest.json" in output
    manifest = json.loads(Path("train.parquet.manifest.json").read_text())
    assert [source["samples"] for source in manifest["sources"]] == [4, 2, 3]
    assert manifest["made_by"]["versions"]["toolrest"] and "commit" in manifest["made_by"]
    assert all(source["answers_sha256"] is None for source in manifest["sources"])
    output = run("data", "check", "train.parquet", "--policy", "embedded", "--output", "c.json")
    assert "9 rows, 9 samples" in output
    assert "duplicate" in output
    assert "prompt tokens: median" in output and "#" in output
    assert json.loads(Path("c.json").read_text())[0]["rows"] == 9
    shown = run("data", "show", "train.parquet", "--row", 8)
    assert "[system] You are a helpful" in shown
    assert "live_giveaways_by_type" in shown and "[ground truth]" in shown
    secret, true = run("data", "show", "train.parquet", "--row", 5).split("[with true names]")
    assert "live_giveaways_by_type" in true
    assert "live_giveaways_by_type" not in secret
    shown = run("data", "show", "train.parquet", "--policy", "embedded")
    assert "tokens" in shown and "<|im_start|>" in shown


def test_files_are_named_without_a_recipe_and_in_another_dialect():
    lines("m.jsonl", [MESSAGES, {"messages": 5}])
    output = run("data", "prepare", "m.jsonl", "dialect=hermes", "--output", "o.parquet")
    assert "left out 1: messages is not a list of objects (rows 1)" in output
    shown = run("data", "show", "m.jsonl", "dialect=hermes", "--row", 0)
    assert "m.jsonl, row 0.0" in shown and "m.jsonl, row 0.1" in shown
    shown = run("data", "show", "m.jsonl", "dialect=hermes", "--row", "0.1")
    assert '"tool_calls"' in shown and "[tools]" in shown
    assert "Blue and grey." in shown
    assert "row 0.0" not in shown
    words = "data m.jsonl: row 1: messages is not a list of objects"
    assert words in run("data", "show", "m.jsonl", "dialect=hermes", "--row", 1, code=2)


@pytest.mark.parametrize("named", ["recipe", "policy=", "--policy"])
def test_rows_are_worded_as_the_run_of_the_embedded_policy_words_them(named):
    lines("m.jsonl", [MESSAGES] * 4)
    said = ["data.path=m.jsonl", "dialect=hermes"]
    Path("recipe.yaml").write_text("dialect: hermes\ndata: {path: m.jsonl}\n")
    recipe = load_recipe(None, [*said, "rollout.prompts_per_step=2", "evaluation.samples=0"])
    tokenizer = load_tokenizer(recipe)
    recipe, _ = fit_recipe(recipe, tokenizer)
    trained = run_samples(recipe, tokenizer).train[0]
    words = {
        "recipe": ["recipe.yaml"],
        "policy=": ["m.jsonl", "dialect=hermes", "policy=embedded"],
        "--policy": ["m.jsonl", "dialect=hermes", "--policy", "embedded"],
    }[named]
    shown = run("data", "show", *words, "--row", "0.0")
    assert "You can call tools. Each is described" in trained.prompt[0]["content"]
    for message in trained.prompt:
        assert message["content"] in shown
    assert "no policy is named" not in shown


def test_where_no_policy_is_named_it_is_said_that_one_would_word_the_rows():
    lines("m.jsonl", [MESSAGES])
    for words, said in (((), 1), (("data.prompt=plain",), 0), (("data.prompt=template",), 0)):
        shown = run("data", "show", "m.jsonl", "dialect=hermes", *words)
        assert shown.count("note: no policy is named") == said
    assert "note: " not in run("data", "show", "m.jsonl")


@pytest.mark.slow
def test_check_against_benchmarks():
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed")
    asked = "Find the area of a triangle with a base of 10 units and height of 5 units."
    lines("x.jsonl", [XLAM | {"query": asked}, XLAM])
    output = run("data", "check", "x.jsonl", "--against", "bfcl")
    assert "equal to BFCL v4 simple_python_0" in output
    lines("test.jsonl", [XLAM | {"query": asked}])
    assert "equal to test.jsonl row 0" in run("data", "check", "x.jsonl", "--against", "test.jsonl")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "none.jsonl"), "there is no such file"),
        (("check", "dialect=hermes"), "data.path"),
        (("check", "seed=1"), "no data: name files"),
        (("show", "x.jsonl", "--row", "99"), "no such sample"),
        (("show", "x.jsonl", "--row", "-1"), "no such sample"),
        (("show", "x.jsonl", "--row", "0.1"), "no such sample"),
        (("show", "x.jsonl", "--row", "a"), "no such sample"),
        (("prepare", "x.jsonl", "--output", "o.parquet", "--drop", "dupl"), "did you mean 'dupli"),
        (("prepare", "x.jsonl", "--output", "o.parquet", "--drop", "too-long"), "needs --policy"),
        (("prepare", "x.jsonl", "--output", "o.parquet", "--drop", "overlap"), "needs --against"),
        (("check", "x.csv"), "the file holds no rows"),
        (("prepare", "x.jsonl", "--output", "o.csv"), "must end with .parquet"),
        (("prepare", "x.jsonl", "--output", "o.parquet", "dialct=hermes"), "did you mean"),
        (("prepare", "x.jsonl", "data.prompt=rla", "--output", "o.parquet"), "data.prompt"),
    ],
)
def test_wrong_input_is_one_line(arguments, words):
    lines("x.jsonl", [XLAM])
    Path("x.csv").write_text("messages,tools\n")
    output = run("data", *arguments, code=2)
    assert words in output
    assert output.count("\n") == 1


def refused_at_once(monkeypatch):
    """No network, and no client of the hub is asked."""

    def ask(*positional, **named):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("toolrest.io.hub.why_unreachable", lambda: "there is no network")
    monkeypatch.setattr("toolrest.doctor.preflight.why_unreachable", lambda: "there is no network")
    monkeypatch.setattr("datasets.load_dataset", ask)


@pytest.mark.parametrize(
    "arguments",
    [
        ("prepare", "mixture", "--output", "o.parquet"),
        ("prepare", "some/body", "--output", "o.parquet"),
        ("check", "some/body"),
        ("check", "local.yaml"),
        ("show", "some/body", "--row", "0"),
    ],
)
def test_without_a_network_a_set_of_the_hub_is_one_line(arguments, monkeypatch):
    refused_at_once(monkeypatch)
    lines("x.jsonl", [XLAM])
    Path("local.yaml").write_text("data:\n  sources: [{path: x.jsonl}, {path: some/body}]\n")
    output = run("data", *arguments, code=2)
    assert output.count("\n") == 1
    assert "there is no such file, and for the hub there is no network" in output


def test_the_hubs_client_reports_no_retries():
    from huggingface_hub.utils import logging

    logging.set_verbosity_warning()
    lines("x.jsonl", [XLAM])
    run("data", "check", "x.jsonl")
    assert logging.get_verbosity() == logging.ERROR


PLENTY = XLAM | {"query": "Where? " * 4000}
FAULTY = [
    XLAM,
    {"query": 1, "tools": "[]", "answers": "[]"},
    XLAM | {"query": "a", "answers": '[{"name": "other", "arguments": {}}]'},
    XLAM,
    PLENTY,
]


def test_strict_exits_with_one_where_something_is_found():
    lines("good.jsonl", [XLAM])
    lines("bad.jsonl", FAULTY)
    run("data", "check", "good.jsonl", "--strict")
    assert "duplicate" in run(
        "data", "check", "bad.jsonl", "--strict", "--output", "c.json", code=1
    )
    assert json.loads(Path("c.json").read_text())[0]["findings"]["duplicate"][0]["row"] == "3"
    run("data", "check", "bad.jsonl", code=1)  # a row is unreadable
    lines("read.jsonl", FAULTY[2:])
    assert "unlisted tool" in run("data", "check", "read.jsonl")
    run("data", "check", "good.jsonl", "bad.jsonl", "--strict", code=1)


def test_what_is_not_printed_is_counted_and_kinds_are_plain_words():
    lines("bad.jsonl", [XLAM, None, 5, 2.5, True, "a", [1], *[{"query": n} for n in range(9)]])
    output = run("data", "check", "bad.jsonl", "--rows", 6, code=1)
    for kind in ("null", "a number", "true or false", "a text", "a list"):
        assert f"{kind}, not an object" in output
    assert "NoneType" not in output
    assert "and 9 more (--rows, or --output for all)" in output
    assert "more" not in run("data", "check", "bad.jsonl", "--rows", 15, code=1)


def test_prepare_leaves_out_what_check_finds():
    lines("x.jsonl", FAULTY)

    def left(*options):
        output = run("data", "prepare", "x.jsonl", "--output", "o.parquet", *options)
        manifest = json.loads(Path("o.parquet.manifest.json").read_text())
        (source,) = manifest["sources"]
        rows = {each for rows in source["left_out_rows"].values() for each in rows}
        assert manifest["samples"] == len(FAULTY) - len(rows)
        return rows, output

    assert left()[0] == {"1"}
    assert left("--drop", "duplicate")[0] == {"1", "3"}
    assert left("--drop", "duplicate,unlisted-tool")[0] == {"1", "2", "3"}
    rows, output = left("--drop", "all")
    assert rows == {"1", "2", "3"}
    assert "not looked for: too long, which needs --policy" in output
    for bare in (("--drop",), ("--drop", "seed=0"), ("--drop", "--quiet")):
        assert left(*bare)[0] == rows
    run("data", "prepare", "--drop", "x.jsonl", "--output", "o.parquet")
    assert json.loads(Path("o.parquet.manifest.json").read_text())["samples"] == 2
    policy = ("--policy", "embedded", "--max-prompt-tokens", 4000)
    assert left("--drop", "too long", *policy)[0] == {"1", "4"}
    rows, output = left("--drop", "all", *policy)
    assert rows == {"1", "2", "3", "4"}
    assert "not looked for: overlap" in output
    run("data", "check", "o.parquet", "--strict", *policy)
    lines("bench.jsonl", [XLAM])
    rows, _ = left("--drop", "overlap", "--against", "bench.jsonl")
    assert rows == {"0", "1", "3"}


def policy_with(template):
    """The embedded policy's folder, with another chat template."""
    folder = Path("policy")
    folder.mkdir()
    for file in Path(toolrest.__file__).parent.joinpath("world", "policy").iterdir():
        if file.name != "chat_template.jinja":
            folder.joinpath(file.name).symlink_to(file)
    folder.joinpath("chat_template.jinja").write_text(template)
    return ("--policy", folder, "dialect=hermes")


def test_a_policy_whose_limit_follows_from_the_data_finds_nothing_too_long():
    """Training takes the limit from these very rows, unless one is said."""
    lines("m.jsonl", [XLAM | {"query": "word " * 2000}, XLAM])
    policy = ("--policy", policy_with(PICKY)[1], "dialect=rlla")
    assert "too long" not in run("data", "check", "m.jsonl", *policy)
    for said in (("--max-prompt-tokens", 1024), ("data.max_prompt_tokens=1024",)):
        assert "too long" in run("data", "check", "m.jsonl", *policy, *said)
    drop = ("prepare", "m.jsonl", *policy, "--output", "o.parquet", "--drop", "too-long")
    assert "needs --max-prompt-tokens" in run("data", *drop, code=2)


@pytest.mark.parametrize("named", ["--policy", "policy="])
@pytest.mark.parametrize("what", ["check", "show", "prepare"])
def test_every_data_command_knows_the_dialect_of_a_policys_template(named, what):
    lines("m.jsonl", [XLAM])
    folder = str(policy_with(shipped("qwen3"))[1])
    policy = ("--policy", folder) if named == "--policy" else (f"policy={folder}",)
    out = ("--output", "o.parquet") if what == "prepare" else ()
    run("data", what, "m.jsonl", *policy, "dialect=auto", *out)
    if what == "prepare":
        manifest = json.loads(Path("o.parquet.manifest.json").read_text())
        assert manifest["rendering"]["dialect"] == "hermes"


PICKY = """{%- for message in messages -%}
{%- if "secret" in message["content"] -%}{{ raise_exception("I never say\\nthat!") }}{%- endif -%}
{{ message["role"] }}: {{ message["content"] }}
{% endfor -%}"""


def test_a_row_that_the_template_refuses_is_counted_and_named_and_the_rest_goes_on():
    secret = {"role": "user", "content": "a secret"}
    told = MESSAGES | {"messages": [*MESSAGES["messages"], secret, MESSAGES["messages"][-1]]}
    lines("m.jsonl", [XLAM, told, XLAM | {"query": "a secret"}, XLAM | {"query": "q"}])
    policy = policy_with(PICKY)
    output = run("data", "check", "m.jsonl", *policy, "--strict", "--output", "c.json", code=1)
    assert "refused by the template" in output and "I never say" in output
    (report,) = json.loads(Path("c.json").read_text())
    assert {
        kind: [each["row"] for each in found] for kind, found in report["findings"].items()
    } == {"refused by the template": ["1.2", "2"]}
    assert len(report["prompt_tokens"]) == 4
    output = run("data", "prepare", "m.jsonl", *policy, "--output", "o.parquet")
    (named,) = (line for line in output.splitlines() if "refused by the template" in line)
    assert named.startswith("  left out 2: ") and named.endswith("(rows 1.2, 2)")
    run("data", "check", "o.parquet", *policy, "--strict")
    assert "I never say" in run("data", "show", "m.jsonl", *policy, "--row", 2, code=2)
    assert "a secret" in run("data", "show", "m.jsonl", "dialect=hermes", "--row", 2)
    lines("all.jsonl", [XLAM | {"query": "a secret"}])
    output = run("data", "prepare", "all.jsonl", *policy, "--output", "no.parquet", code=2)
    (error,) = (line for line in output.splitlines() if not line.startswith("note: "))
    assert "no sample is left" in error and "I never say" in error


TINY = ("rollout.prompts_per_step=1", "rollout.group_size=2", "rollout.max_response_tokens=8")
TINY += ("evaluation.samples=0", "max_steps=1", "save_steps=1", "--quiet")


@pytest.mark.slow
def test_training_reads_a_mixture_and_a_prepared_file():
    mixture()
    run("train", "recipe.yaml", *TINY, "name=a", "data.max_prompt_tokens=4000")
    run(
        "data",
        "prepare",
        "recipe.yaml",
        "dialect=hermes",
        "data.prompt=plain",
        "--output",
        "h.parquet",
    )
    options = ("dialect=hermes", "data.prompt=plain", "data.max_prompt_tokens=4000")
    run("train", *TINY, "name=b", "data.path=h.parquet", *options)
    assert json.loads(Path("runs/b/data.json").read_text())["rows"] == 9
    assert "prepared for dialect=hermes" in run("train", "data.path=h.parquet", code=2)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rsft", "sft"])
def test_supervised_learning_alone_is_a_method(method):
    """And its policy can be evaluated by the run's name."""
    run(
        *("train", f"method={method}", "warm_start.steps=2", "warm_start.batch_size=2", "name=s"),
        *("evaluation.samples=2", "rollout.max_response_tokens=8", "--quiet"),
    )
    summary = json.loads(Path("runs/s/summary.json").read_text())
    assert (summary["scheme"], summary["steps"]) == (method, 2)
    assert Path("runs/s/warm_start/model.safetensors").is_file()
    assert "runs/s/evaluation" in run("evaluate", "runs/s", "--limit", 1)
    words = "leave it out, or use method=rl"
    assert words in run("train", f"method={method}", "warm_start.method=sft", code=2)


def test_rows_without_thoughts_are_demonstrations_only_where_none_is_asked_for():
    lines("x.jsonl", [XLAM | {"query": f"q{n}"} for n in range(4)])
    base = (
        "train",
        "method=sft",
        "warm_start.steps=1",
        "warm_start.batch_size=1",
        "data.path=x.jsonl",
    )
    more = ("evaluation.samples=0", "rollout.prompts_per_step=1", "--quiet")
    assert "no row has a demonstration" in run(*base, *more, code=2)
    run(*base, *more, "data.think=false", "name=ok")
