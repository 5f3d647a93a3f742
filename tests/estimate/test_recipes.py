"""The recipes' heads and docs/scaling.md say what the calculation says."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.estimate import Estimate, estimate, get_gpu, get_shape
from toolrest.estimate.show import machines
from toolrest.estimate.table import header, row, summary
from toolrest.recipe import load_recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted([*ROOT.glob("recipes/verl-*.yaml"), *ROOT.glob("recipes/trl-lora-*.yaml")])


def plan(path: Path, overrides: list[str] | None = None) -> Estimate:
    recipe = load_recipe(path, overrides or [])
    return estimate(recipe, get_shape(recipe.policy), get_gpu("h100"))


def test_all_recipes_are_there():
    assert len(RECIPES) == 8


@pytest.mark.parametrize(
    "path", [*RECIPES, ROOT / "recipes/qwen3-0.6b-rlla.yaml"], ids=lambda path: path.stem
)
def test_the_head_says_what_the_calculation_says(path):
    found = plan(path)
    assert f"# {summary(found)}\n" in path.read_text(encoding="utf-8")
    assert found.fits


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_run_is_the_papers(path):
    recipe = load_recipe(path, [])
    assert recipe.rollout.prompts_per_step == 512
    assert recipe.rollout.group_size == 4
    assert recipe.optimizer.mini_batch == 64
    assert recipe.data.max_prompt_tokens == recipe.rollout.max_response_tokens == 2048
    assert recipe.max_steps == 15 * (4000 // 512) * 8
    if recipe.lora.rank == 0:
        assert recipe.optimizer.learning_rate == 1e-6


def test_the_documents_table_is_the_computed_one():
    text = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
    table = "\n".join([*header(), *(row(path.stem, plan(path)) for path in RECIPES)])
    assert table in text


def test_the_documents_growth_is_the_computed_one():
    text = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| `--gpus")]
    assert len(lines) == 6
    for line in lines:
        _, arguments, rest = line.split("`")
        _, gpus, *overrides = arguments.split()
        found = plan(ROOT / "recipes/verl-qwen3-4b-2507.yaml", machines(int(gpus)) + overrides)
        computed = row("", found).strip("| ").split(" | ")
        assert rest.strip("| ").split(" | ") == computed[2:-1], arguments


def test_the_command_line(capsys):
    from toolrest.estimate.show import main

    path = str(ROOT / "recipes/verl-qwen3-8b.yaml")
    main([path, "--gpu", "a100", "--gpus", "16"])
    shown = capsys.readouterr().out
    assert "16 x A100" in " ".join(shown.split())
    assert "optimizer" in shown
    for words, said in (
        ([path, "rollout.vllm.memory=0.1"], "rollout.vllm.memory=0.1"),
        (["policy=some/one"], "unknown policy of known shape"),
        (["verl-qwen3-8b", "--gpus", "12"], "whole machines"),
        (["verl-qwen3-8b", "--gpu", "h1"], "unknown GPU"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        told = capsys.readouterr()
        assert told.err.startswith("toolrest: ") and said in told.err and not told.out
        found = CliRunner().invoke(app, ["estimate", *words])
        assert (found.exit_code, found.stderr, found.stdout) == (2, told.err, "")


def test_overrides_alone_are_of_the_default_recipe():
    found = CliRunner().invoke(app, ["estimate", "policy=Qwen/Qwen3-0.6B"])
    assert found.exit_code == 0 and "the default recipe" in found.stdout
