"""`toolrest new`: for each kind of user the recipe that `toolrest train` takes as it is."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub.errors import RepositoryNotFoundError
from tiny_policies import write_policy
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.doctor.preflight import preflight
from toolrest.estimate.needs import Device
from toolrest.recipe import Recipe, load_recipe

TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {}}}
CALL = {"type": "function", "function": {"name": "look", "arguments": {}}}
THOUGHTLESS = {
    "messages": [
        {"role": "user", "content": "How is Rome?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
    ],
    "tools": [TOOL],
}
THOUGHT = json.loads(json.dumps(THOUGHTLESS))
THOUGHT["messages"][1]["reasoning_content"] = "I look."
RLLA = {
    "instruction": "You may call tools.\n1. Name: look\nDescription: Looks.\nParameters: {}\n",
    "input": "**Dialogue Records History**\n<user> How is Rome? </user>",
    "output": "<think> I look. </think>\n<tool_call>\n"
    '{"name": "look", "parameters": {}}\n</tool_call>',
}
GPU = Device("a GPU", 80e9, gpu=True, bfloat16=True)


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policies")
    return {name: str(write_policy(folder / name, name)) for name in ("qwen3", "smollm2")}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("toolrest.cli.new.found_gpus", lambda: (0, None))
    monkeypatch.setattr("toolrest.cli.new_questions.found_gpus", lambda: (0, None))
    monkeypatch.setattr("toolrest.io.hub.why_unreachable", lambda: "there is no network")


def rows(name="rows.jsonl", row=THOUGHT, count=24):
    Path(name).write_text("".join(json.dumps(row) + "\n" for _ in range(count)))
    return name


def new(*words, **more):
    return CliRunner().invoke(app, ["new", *words], **more)


def made(*words, out="recipe.yaml"):
    """(recipe, what was said)."""
    done = new(*words)
    assert done.exit_code == 0, done.output
    assert f"toolrest train {out} --dry-run" in done.stdout
    return load_recipe(Path(out), []), done


def plan(out="recipe.yaml"):
    done = CliRunner().invoke(app, ["train", out, "--dry-run"])
    assert done.exit_code == 0, done.output
    resolved, _, said = done.stdout.partition("\n# plan: ")
    return yaml.safe_load(resolved), said


def test_the_embedded_default():
    recipe, done = made("--policy", "embedded")
    assert recipe == Recipe()
    assert done.stderr == ""
    assert "25 steps" in plan()[1]


def test_a_name_on_the_hub_with_messages(monkeypatch):
    recipe, done = made(*("--policy", "Qwen/Qwen3-0.6B", "--data", rows(), "--gpus", "1"))
    assert (recipe.policy, recipe.dialect) == ("Qwen/Qwen3-0.6B", "auto")
    assert recipe.data.path == str(Path("rows.jsonl").absolute()) and recipe.data.think is True
    assert "24 rows of format messages, dialect of the policy's chat template" in done.stdout
    assert "--gpu-memory" in done.stdout
    monkeypatch.setattr("toolrest.doctor.preflight.why_absent", lambda policy: None)
    room = type("Usage", (), {"free": 10**12})
    monkeypatch.setattr("shutil.disk_usage", lambda path: room)
    preflight(recipe)


def test_a_policy_of_unknown_size_is_said_to_be_one():
    _, done = made("--policy", "some/7B", "--data", rows(), "--gpus", "1", "--gpu-memory", "8")
    assert "memory was not looked at, as the size of some/7B is not known" in done.stdout


def test_a_folder_with_rows_of_rlla(policies):
    recipe, done = made("--policy", policies["qwen3"], "--data", rows(row=RLLA))
    assert (recipe.dialect, recipe.data.think) == ("auto", True)
    assert "24 rows of format rlla_json, dialect hermes" in done.stdout
    assert "data.think=false" not in done.stdout  # which it is not
    resolved, _ = plan()
    assert (resolved["dialect"], resolved["data"]["prompt"]) == ("hermes", "template")


def test_a_template_without_calls_gets_a_dialect_by_name(policies):
    recipe, done = made("--policy", policies["smollm2"], "--data", rows())
    assert recipe.dialect == "hermes"
    assert "plain words" in done.stdout
    assert plan()[0]["data"]["prompt"] == "plain"


@pytest.mark.slow
@pytest.mark.parametrize(("row", "think"), [(THOUGHT, True), (THOUGHTLESS, False)])
@pytest.mark.parametrize("words", [("--method", "sft"), ("--warm-start",)])
def test_supervised_learning_teaches_thoughts_where_there_are_any(policies, row, think, words):
    recipe, _ = made("--policy", policies["qwen3"], "--data", rows(row=row), *words)
    assert recipe.data.think is think
    assert (recipe.method, recipe.warm_start.method) == (
        ("sft", "none") if "sft" in words else ("rl", "sft")
    )
    plan()


def test_several_gpus(policies):
    words = ("--policy", policies["qwen3"], "--data", rows(), "--gpus", "3", "--gpu-memory", "80")
    recipe, _ = made(*words)
    assert recipe.engine.processes == 3
    assert (recipe.engine.sharding, recipe.lora.rank) == ("ddp", 0)
    assert "3 processes" in plan()[1]


@pytest.mark.parametrize(
    ("gpus", "memory", "wanted"),
    [
        ("1", "80", (False, "ddp", 0)),
        ("1", "24", (True, "ddp", 16)),
        ("4", "24", (True, "fsdp", 0)),
    ],
)
def test_memory_decides_what_is_trained_and_how(gpus, memory, wanted):
    words = ("--policy", "Qwen/Qwen3-1.7B", "--data", rows(), "--gpus", gpus)
    recipe, _ = made(*words, "--gpu-memory", memory)
    found = recipe.optimizer.gradient_checkpointing, recipe.engine.sharding, recipe.lora.rank
    assert found == wanted


def test_the_gpus_that_are_here_are_taken(monkeypatch):
    monkeypatch.setattr("toolrest.cli.new.found_gpus", lambda: (2, GPU))
    recipe, _ = made("--policy", "Qwen/Qwen3-0.6B", "--data", rows())
    assert recipe.engine.processes == 2


def test_the_only_file_of_a_folder_is_its_data():
    Path("folder").mkdir()
    rows("folder/a.jsonl")
    recipe, _ = made("--policy", "embedded", "--data", "folder")
    assert recipe.data.path == str(Path("folder/a.jsonl").absolute())


@pytest.mark.parametrize(
    "name", ["it's #1: a b.jsonl", "C:\\x\\é名.jsonl", "-1e5.jsonl", 'q".jsonl']
)
def test_odd_names_are_read_back(name):
    rows(name)
    recipe, _ = made("--policy", "embedded", "--data", name, "--name", "1e5")
    assert (recipe.data.path, recipe.name) == (str(Path(name).absolute()), "1e5")


@pytest.mark.parametrize("out", ["a b.yaml", "it's.yml", "./-x.yaml", "é: #.yaml"])
def test_the_commands_that_are_printed_work(out):
    done = new("--policy", "embedded", "--out", out)
    lines = [line.strip() for line in done.stdout.splitlines()]
    (line,) = (line for line in lines if line.endswith("--dry-run"))
    assert CliRunner().invoke(app, shlex.split(line)[1:]).exit_code == 0


WRONG = {
    "": "--policy is due",
    "--policy Qwen/Qwen3-0.6B": "--data is due",
    "--policy embedded --data none.jsonl": "there is no such file; here is bad.jsonl, empty.jsonl",
    "--policy embedded --data empty.jsonl": "holds no rows",
    "--policy embedded --data unknown.jsonl": "none of the formats",
    "--policy Qwen/Qwen3-0.6B --data unknown.jsonl": "none of the formats",
    "--policy embedded --data bad.jsonl": "row 0: ",
    "--policy embedded --data notes.txt": "expected .json",
    "--policy embedded --data folder": "name a file in it; folder has a.jsonl, b.jsonl",
    "--policy ./nope --data rows.jsonl": "no such folder",
    "--policy folder --data rows.jsonl": "config.json",
    "--policy embedded --gpus -1": "--gpus",
    "--policy embedded --gpus two": "--gpus",
    "--policy qwen3/x --data none --gpus 1 --gpu-memory inf": "a number of GB",
    "--policy embedded --gpus 1 --gpu-memory 80": "leave it out",
    "--policy embedded --gpus 0 --gpu-memory 80": "--gpu-memory goes with",
    "--policy Qwen/Qwen3-0.6B --data rows.jsonl --gpu-memory 80": "say how many",
    "--policy Qwen/Qwen3-14B --data rows.jsonl --gpus 1 --gpu-memory 24": "a smaller policy",
    "--policy embedded --method ppo": "--method",
    "--policy embedded --method sft --warm-start": "leave out --method sft",
    "--policy embedded --out there.yaml": "there already; name another",
    "--policy embedded --out link.yaml": "there already; name another",
    "--policy embedded --out nowhere/a.yaml": "no folder nowhere",
    "--policy embedded --out a.json": "ends in .yaml",
    "--policy embedded --out a=b.yaml": "has no =",
    "--policy embedded --name a/b": "no folder in it",
    "--policy embedded --name done": "done",
    "--polcy embedded": "did you mean --policy",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_input_is_one_line_and_nothing_is_written(line):
    Path("folder").mkdir()
    for name in ("rows.jsonl", "folder/a.jsonl", "folder/b.jsonl"):
        rows(name)
    rows("bad.jsonl", {"messages": 5})
    rows("unknown.jsonl", {"a": 1})
    Path("empty.jsonl").touch()
    Path("notes.txt").write_text("x")
    Path("there.yaml").write_text("max_steps: 2\n")
    Path("link.yaml").symlink_to("nothing")
    Path("runs/done").mkdir(parents=True)
    Path("runs/done/recipe.yaml").write_text("max_steps: 2\n")
    before = sorted(Path().rglob("*"))
    found = new(*line.split())
    assert found.exit_code == 2, found.output
    assert found.stdout == ""
    assert found.stderr.startswith("toolrest: ") and found.stderr.count("\n") == 1, found.stderr
    assert WRONG[line] in found.stderr
    assert sorted(Path().rglob("*")) == before
    assert Path("there.yaml").read_text() == "max_steps: 2\n"


@pytest.mark.parametrize(
    "words",
    [
        ("new", "--policy", "half \udcff.jsonl"),
        ("new", "--policy", "embedded", "--data", "half \udcff.jsonl"),
        ("new", "--policy", "embedded", "--out", "half \udcff.yaml"),
        ("new", "--policy", "embedded", "--out", "two\nlines.yaml"),
        ("train", "data.path=half \udcff.jsonl", "--dry-run"),
    ],
)
def test_a_name_that_cannot_be_written_is_refused_in_one_line(words):
    rows("half \udcff.jsonl")
    found = CliRunner().invoke(app, [*words])
    assert found.exit_code == 2, found.output
    assert found.stderr.startswith("toolrest: ") and found.stderr.count("\n") == 1, found.stderr
    assert not list(Path().glob("*.yaml"))


def test_a_file_that_came_meanwhile_stays(monkeypatch):
    def late(gone):
        Path("recipe.yaml").write_text("max_steps: 2\n")

    monkeypatch.setattr("toolrest.runs.claims.check_free", late)
    found = new("--policy", "embedded")
    assert found.exit_code == 2 and "cannot be made" in found.stderr
    assert Path("recipe.yaml").read_text() == "max_steps: 2\n"


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr("toolrest.cli.new._in_terminal", lambda: True)


def test_in_a_terminal_enter_alone_makes_the_embedded_recipe(terminal):
    done = new(input="\n\n\n\n")
    assert done.exit_code == 0, done.output
    assert load_recipe(Path("recipe.yaml"), []) == Recipe()


def test_in_a_terminal_a_wrong_answer_is_asked_for_again(terminal, monkeypatch):
    monkeypatch.setattr("toolrest.cli.new_questions.found_gpus", lambda: (1, GPU))
    rows()
    Path("recipe.yaml").write_text("max_steps: 2\n")
    answers = ("./nope", "Qwen/Qwen3-0.6B", "no.jsonl", "rows.jsonl", "ppo", "rl", "y")
    more = ("-1", "2", "much", "", "recipe.yaml", "mine.yaml")
    done = new(input="\n".join((*answers, *more)) + "\n")
    assert done.exit_code == 0, done.output
    for said in ("no such folder", "no such file", "'ppo'", "'-1'", "'much'", "there already"):
        assert said in done.stderr, said
    assert "24 rows of format messages" in done.stdout
    recipe = load_recipe(Path("mine.yaml"), [])
    assert (recipe.warm_start.method, recipe.engine.processes) == ("sft", 2)
    assert Path("recipe.yaml").read_text() == "max_steps: 2\n"


def test_in_a_terminal_with_a_flag_nothing_is_asked(terminal):
    done = new("--policy", "embedded", input="")
    assert done.exit_code == 0, done.output


def test_questions_that_are_broken_off_write_nothing(terminal):
    done = new(input="embedded\n")
    assert done.exit_code == 130
    assert "nothing was written" in done.stderr and not list(Path().iterdir())


def test_what_is_refused_at_once_needs_no_torch():
    rows("unknown.jsonl", {"a": 1})
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom toolrest.cli.main import app\n"
        "line = 'new --policy Qwen/Qwen3-0.6B --data unknown.jsonl'\n"
        "assert CliRunner().invoke(app, line.split()).exit_code == 2\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_in_a_terminal_the_file_that_is_proposed_is_free(terminal):
    for taken in ("recipe.yaml", "recipe-2.yaml"):
        Path(taken).write_text("max_steps: 2\n")
    done = new(input="\n\n\n\n")
    assert done.exit_code == 0, done.output
    assert load_recipe(Path("recipe-3.yaml"), []) == Recipe()


def test_a_broken_row_is_told_with_the_command_that_leaves_it_out(policies):
    Path(rows("broken.jsonl")).write_text(Path(rows()).read_text() + "{\n")
    words = ("--policy", policies["smollm2"], "--gpus", "0")
    done = new(*words, "--data", "broken.jsonl", "--out", "recipe.yaml")
    assert done.exit_code == 2 and not Path("recipe.yaml").exists()
    _, _, prepare = done.stderr.strip().partition("leave such out: toolrest ")
    made = CliRunner().invoke(app, shlex.split(prepare))
    assert made.exit_code == 0, made.output
    done = new(*words, "--data", "rows.parquet")
    assert done.exit_code == 0, done.output
    assert load_recipe(Path("recipe.yaml"), []).dialect == "hermes"


@pytest.mark.parametrize("think", ["true", "false"])
def test_prepared_rows_settle_whether_replies_have_a_thought(policies, think):
    words = ("--policy", policies["smollm2"], "dialect=hermes", f"data.think={think}")
    prepare = ("data", "prepare", rows(), *words, "--output", "rows.parquet")
    made_of = CliRunner().invoke(app, prepare)
    assert made_of.exit_code == 0, made_of.output
    recipe, _ = made("--policy", policies["smollm2"], "--data", "rows.parquet", "--gpus", "0")
    assert recipe.data.think is (think == "true")


def answering(monkeypatch, error=None):
    """The hub can be reached, and answers so; gives what it was asked for."""
    asked = []

    def model_info(self, name, **options):
        asked.append(name)
        if error is not None:
            raise error

    monkeypatch.setattr("toolrest.io.hub.why_unreachable", lambda: None)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    return asked


def absent():
    """As the hub's client raises it, whatever it is made of in its versions."""
    return RepositoryNotFoundError.__new__(RepositoryNotFoundError)


@pytest.mark.parametrize("asking", [False, True])
def test_a_policy_of_the_hub_is_checked_when_it_is_named(asking, monkeypatch):
    monkeypatch.setattr("toolrest.cli.new._in_terminal", lambda: asking)
    data = rows()

    def answer(name):
        """A recipe with this policy, by answers where the embedded one takes the place of it."""
        for left in Path().glob("*.yaml"):
            left.unlink()
        if not asking:
            return new("--policy", name, "--data", data, "--gpus", "0")
        return new(input="\n".join((name, "embedded", *[""] * 3)) + "\n")

    asked = answering(monkeypatch, absent())
    found = answer("some/body")
    assert "toolrest: policy=some/body: neither a folder here nor a model" in found.stderr
    assert asked == ["some/body"]
    assert found.exit_code == (0 if asking else 2)
    assert [path.name for path in Path().glob("*.yaml")] == ["recipe.yaml"] * asking
    for error, said in ((None, False), (TimeoutError("late"), True)):
        asked = answering(monkeypatch, error)
        if asking:
            found = new(input="\n".join(("some/body", data, "", "", "0", f"{said}.yaml")) + "\n")
        else:
            found = answer("some/body")
        assert found.exit_code == 0, found.output
        assert found.stdout.count("policy some/body was not checked: the hub gave no") == said
        assert asked == ["some/body"]


def test_a_policy_that_cannot_be_asked_for_is_said_to_be_unchecked_and_written():
    _, done = made("--policy", "some/body", "--data", rows(), "--gpus", "0")
    assert "policy some/body was not checked: there is no network" in done.stdout
    assert done.stdout.index("was not checked") < done.stdout.index("is written")


def test_the_file_is_read_once(policies, monkeypatch):
    from toolrest.data import rows as reading

    opened = []
    binary = reading._binary

    def counting(path):
        opened.append(path)
        return binary(path)

    monkeypatch.setattr(reading, "_binary", counting)
    made("--policy", policies["qwen3"], "--data", rows(), "--gpus", "1", "--gpu-memory", "80")
    assert len([path for path in opened if path.name == "rows.jsonl"]) <= 2  # and by `not_here`
    opened.clear()
    monkeypatch.setattr("toolrest.cli.new._in_terminal", lambda: True)
    done = new(input=f"{policies['qwen3']}\nrows.jsonl\nsft\n0\nb.yaml\n")
    assert done.exit_code == 0, done.output
    assert len([path for path in opened if path.name == "rows.jsonl"]) <= 2


@pytest.mark.parametrize(
    ("name", "more", "hinted"),
    [
        ("smollm2", (), True),
        ("smollm2", ("--warm-start",), False),
        ("smollm2", ("--method", "sft"), False),
        ("qwen3", (), False),
        ("some/body", (), False),
    ],
)
def test_a_cold_start_is_hinted_at_where_it_is_known_to_be_possible(policies, name, more, hinted):
    policy = policies.get(name, name)
    _, done = made("--policy", policy, "--data", rows(), "--gpus", "0", *more)
    assert ("hint: prompts alone explain the dialect hermes" in done.stdout) == hinted
