"""What `toolrest train --dry-run` says of the rows and the policy, against what training does."""

import json
from pathlib import Path

import pytest
from tiny_policies import write_policy
from typer.testing import CliRunner

from toolrest.cli import plan_rows
from toolrest.cli.main import app
from toolrest.engines.verl.hydra import shell_command
from toolrest.engines.verl.overrides import run_paths, verl_command
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import load_recipe

TOOL = {
    "type": "function",
    "function": {
        "name": "forecast",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {"type": "function", "function": {"name": "forecast", "arguments": {"city": "Ghent"}}}


def rows(count, asked="Rain?"):
    """Rows of messages, each with a call."""
    for number in range(count):
        user = {"role": "user", "content": f"{asked} {number}"}
        yield {"messages": [user, {"role": "assistant", "tool_calls": [CALL]}], "tools": [TOOL]}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(*made):
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))


def train(*words):
    return CliRunner().invoke(app, ["train", "data.path=rows.jsonl", *words])


LONG = "Where? " * 2000
REFUSED = (
    ([*rows(1)], [], "1 rows are left to train on"),
    ([*rows(17)], ["data.heldout_fraction=0.5"], "are left to train on, fewer than"),
    ([*rows(20, LONG)], [], "every prompt is longer"),
    ([*rows(20, LONG), *rows(3)], [], "2 rows are left to train on"),
    ([*rows(70), {"messages": 5}], [], "row 70: messages is not a list of objects"),
    ([*rows(20)], ["method=sft"], "sft: no row has a demonstration"),
    ([*rows(1)], ["method=sft"], "sft: no row has a demonstration"),
    ([*rows(20)], ["warm_start.method=rsft"], "rsft: no row has a demonstration"),
)


@pytest.mark.slow
@pytest.mark.parametrize(("made", "words", "said"), REFUSED)
def test_rows_that_training_refuses_are_refused_in_the_same_words(made, words, said, monkeypatch):
    write(*made)
    found = [train(*words, *more) for more in ((), ("--dry-run",))]
    monkeypatch.setattr(plan_rows, "_TOKENISED", 10)  # fewer than there are
    found.append(train(*words, "--dry-run"))
    for each in found:
        assert each.exit_code == 2, each.output
        assert said in each.stderr.splitlines()[-1]
    assert len({each.stderr.splitlines()[-1] for each in found}) == 1
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


COUNTED = (
    ([*rows(40)], [], "36 to train on, 4 held out", "on 4 held-out samples"),
    ([*rows(40)], ["evaluation.samples=3"], "36 to train on, 4 held out", "on 3 held-out samples"),
    ([*rows(40)], ["evaluation.samples=1"], "36 to train on, 4 held out", "on 1 held-out sample"),
    ([*rows(40)], ["evaluation.samples=0"], "40 to train on, none held out", "no evaluation (ev"),
    (
        [*rows(40)],
        ["data.heldout_fraction=0"],
        "40 to train on, none held out",
        "no evaluation, as no row is held out",
    ),
    (
        [*rows(20), *rows(7, LONG)],
        ["data.heldout_fraction=0.1"],
        "18 to train on, 2 held out, 7 left out: data.max_prompt_tokens=1024",
        "on 2 held-out samples",
    ),
)


@pytest.mark.parametrize(("made", "words", "counted", "evaluated"), COUNTED)
def test_rows_are_counted(made, words, counted, evaluated):
    write(*made)
    found = train(*words, "--dry-run")
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert f"# rows: {counted}" in lines
    assert lines[-1].startswith("# plan:") and evaluated in lines[-1]


def test_of_many_rows_the_first_are_counted_and_that_is_said(monkeypatch):
    monkeypatch.setattr(plan_rows, "_TOKENISED", 30)
    write(*rows(40))
    found = train("--dry-run").stdout
    assert "# rows: of the first 30 of each source 27 to train on, 3 held out" in found
    assert "up to 256 held-out samples" in found


def test_a_policy_whose_template_writes_no_calls_may_not_know_them(tmp_path_factory):
    plain = write_policy(tmp_path_factory.mktemp("plain"), "smollm2")
    own = write_policy(tmp_path_factory.mktemp("own"), "qwen3")
    write(*rows(40))
    hint = "# hint: prompts alone explain the dialect hermes"
    of_plain = [f"policy={plain}", "dialect=hermes", "--dry-run"]
    table = (
        (of_plain, True),
        ([f"policy={own}", "dialect=auto", "--dry-run"], False),
        ([*of_plain, "warm_start.method=sft", "data.think=false"], False),
        ([*of_plain, "method=sft", "data.think=false"], False),
        (["--dry-run"], False),
    )
    for words, hinted in table:
        found = train(*words)
        assert found.exit_code == 0, found.output
        assert (hint in found.stdout) == hinted, words
        assert ("hint" in found.stdout) == hinted, words


@pytest.mark.parametrize("template", ["smollm2", "qwen3"])
@pytest.mark.parametrize(
    "more",
    [(), ("data.prompt=plain",), ("data.think=true",), ("environment.source=play.py:Play",)],
    ids=str,
)
def test_verls_command_is_that_of_the_run(tmp_path_factory, template, more):
    """Of the recipe fitted to the policy's chat template, as the run fits it."""
    write(*rows(40))
    Path("play.py").write_text("class Play:\n    def reset(self): return 'hi'\n    reward = 0.0\n")
    policy = write_policy(tmp_path_factory.mktemp("verl"), template)
    said = [f"policy={policy}", "dialect=hermes", "engine=verl", "data.path=rows.jsonl", *more]
    recipe = load_recipe(None, said)
    recipe, notes = fit_recipe(recipe, load_tokenizer(recipe))
    paths = run_paths(Path("runs/x"), evaluated=True)
    words = shell_command(*verl_command(recipe, "x", paths))
    found = CliRunner().invoke(app, ["train", *said, "name=x", "--dry-run"])
    assert found.exit_code == 0, found.output
    assert found.stdout.endswith(f"{words}\n")
    assert [line[8:] for line in found.stdout.splitlines() if line.startswith("# note: ")] == notes


def test_verls_command_of_a_policy_elsewhere_says_what_was_not_looked_at(monkeypatch):
    monkeypatch.setattr("toolrest.io.hub.why_unreachable", lambda: "there is no network")
    words = ("policy=some/body", "engine=verl", "--dry-run")
    found = train(*words, "dialect=hermes")
    assert found.exit_code == 0, found.output
    assert "chat template, by which the run words its prompts, was not looked at" in found.stderr
    assert "verl.trainer.main_ppo" in found.stdout
    assert train(*words, "dialect=auto").exit_code == 2


TOOLS = '''
raise SystemExit("it was run")

def pay(amount: int) -> str:
    """Pay."""

def _hidden(): ...

class Bank:
    def reset(self, **row): ...
    def look(self) -> str:
        """Look."""
    def helper(self): ...
    def _own(self):
        """Own."""
    def get_reward(self) -> float:
        """The reward."""

class Own:
    def reset(self, row, seed): ...
    def call(self, calls):
        """Call."""
'''


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("world", "environment: the embedded chains"),
        ("tools.py", "environment: tools.py, tools pay; up to 3 turns"),
        ("tools.py:Bank", "environment: tools.py:Bank, tools look; up to 3 turns"),
        ("tools.py:Own", "environment: tools.py:Own, whose reset says tools"),
    ],
)
def test_an_environment_and_its_tools_are_named_and_nothing_is_run(source, said):
    Path("tools.py").write_text(TOOLS)
    words = ["train", f"environment.source={source}", "environment.max_turns=3", "--dry-run"]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    assert f"# {said}" in found.stdout and "8 episodes from 4096 made rows" in found.stdout


def test_too_few_rows_of_episodes_are_refused_and_others_counted():
    Path("tools.py").write_text(TOOLS)
    write(*({"amount": number} for number in range(10)))
    words = ["environment.source=tools.py", "--dry-run"]
    found = train(*words)
    assert found.exit_code == 2 and "rows are left to train on" in found.stderr
    few = ("rollout.prompts_per_step=8", "data.heldout_fraction=0.2")
    found = train(*words, *few)
    assert "evaluation before and after on 2 held-out samples" in found.stdout
    late = train(*words, *few, "evaluation.before=false")
    assert "evaluation after training on 2 held-out samples" in late.stdout


def test_an_episode_that_the_policy_cannot_hold_is_refused():
    words = ["environment.source=world", "environment.max_trajectory_tokens=3500"]
    found = CliRunner().invoke(app, ["train", *words])
    assert found.exit_code == 2
    assert "are 4524 tokens, but the policy takes 4096" in found.stderr
    assert not Path("runs").exists()
