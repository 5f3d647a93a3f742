"""The recipes' heads and docs/scaling.md say what the calculation says."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.estimate import Estimate, estimate, get_gpu, get_shape
from toolrest.estimate.show import machines
from toolrest.estimate.table import header, row
from toolrest.recipe import load_recipe

ROOT = Path(__file__).parents[2]
ALONE = {*("qwen3-0.6b-rlla", "agent-bfcl", "verl-agent-qwen3-4b-2507", "verl-release-qwen3-1.7b")}
"""Runs that are none of the paper's, and the released code's own."""
RECIPES = sorted(
    path
    for name in ("verl", "trl-lora")
    for path in ROOT.glob(f"recipes/{name}-*.yaml")
    if path.stem not in ALONE
)


def plan(path: Path, overrides: list[str] | None = None) -> Estimate:
    recipe = load_recipe(path, overrides or [])
    return estimate(recipe, get_shape(recipe.policy), get_gpu("h100"))


def head(found: Estimate) -> str:
    """The line that the head of a recipe has."""
    return (
        f"{found.gpus} x {found.gpu.name}: {found.memory.peak / 1e9:.1f} GB of each GPU, "
        f"{found.seconds.total:.0f} s a generation, {found.run_seconds / 3600:.1f} h in all, "
        f"{found.disk_bytes / 1e9:.0f} GB of disk"
    )


def test_all_recipes_are_there():
    assert len(RECIPES) == 8


OTHERS = [ROOT / "recipes" / f"{name}.yaml" for name in sorted(ALONE)]


@pytest.mark.parametrize("path", [*RECIPES, *OTHERS], ids=lambda path: path.stem)
def test_the_head_says_what_the_calculation_says(path):
    found = plan(path)
    assert f"# {head(found)}\n" in path.read_text(encoding="utf-8")
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


@pytest.mark.parametrize("words", [[], ["policy=embedded"]])
def test_without_words_it_is_the_default_recipe(words, capsys):
    from toolrest.estimate.show import main

    found = CliRunner().invoke(app, ["estimate", *words])
    assert found.exit_code == 0 and "the default recipe" in found.stdout, found.output
    main(words)
    assert "the default recipe" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("", "cannot be read"),
        ("[]", "not an object"),
        ("3", "not an object"),
        ("[" * 100_000, "cannot be read"),
        ("\udcff", "cannot be read"),
        ("{}", "model_type=None"),
        ('{"model_type": []}', "model_type"),
        ('{"model_type": "llama"}', "no hidden_size"),
        ('{"model_type": "llama", "num_experts": "x"}', "config has num_experts='x'"),
        ('{"model_type": "llama", "hidden_size": 8, "num_attention_heads": 0}', "config has"),
        ('{"model_type": "llama", "hidden_size": Infinity}', "config has hidden_size=inf"),
        ('{"model_type": "llama", "hidden_size": [8]}', "hidden_size=[8], which is no number"),
    ],
)
def test_a_broken_config_is_a_line(text, said, tmp_path):
    (tmp_path / "config.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    found = CliRunner().invoke(app, ["estimate", f"policy={tmp_path}"])
    assert found.exit_code == 2 and said in found.stderr, found.output
    assert found.stderr.startswith("toolrest: ") and found.stderr.count("\n") == 1


def test_a_folder_without_a_config_is_a_line(tmp_path):
    found = CliRunner().invoke(app, ["estimate", f"policy={tmp_path}"])
    assert found.exit_code == 2 and "the folder has no config.json" in found.stderr
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize("key", ["num_hidden_layers", "vocab_size", "intermediate_size"])
@pytest.mark.parametrize("value", [0, -1, 0.5])
def test_a_size_that_is_none_is_a_line(key, value, tmp_path):
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = {"model_type": "llama", "vocab_size": 9, "intermediate_size": 8} | sizes | {key: value}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = CliRunner().invoke(app, ["estimate", f"policy={tmp_path}"])
    assert found.exit_code == 2 and "config has" in found.stderr, found.output


def test_sizes_that_a_recipe_leaves_out_are_those_that_fit_the_gpu():
    """All responses of a step in one forward would not."""
    words = ["policy=Qwen/Qwen3-0.6B", "data.max_prompt_tokens=4096"]
    left = CliRunner().invoke(app, ["estimate", *words])
    assert left.exit_code == 0 and "does not fit" not in left.stdout, left.output
    said = CliRunner().invoke(app, ["estimate", *words, "optimizer.micro_batch=128"])
    assert "does not fit" in said.stdout  # what the recipe says stays


def test_no_generation_is_told_of_supervised_learning():
    path = ROOT / "recipes" / "trl-sft-qwen3-1.7b.yaml"
    found = CliRunner().invoke(app, ["estimate", str(path), "--gpu", "a100"])
    assert found.exit_code == 2 and "generation" not in found.output
    assert f"`toolrest doctor {path} --gpu a100`" in found.stderr
