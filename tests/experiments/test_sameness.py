"""The runs that a comparison finds in its folder are of its own plan."""

import json

import pytest

from toolrest.errors import InputError
from toolrest.experiments.methods import apply_method, read_methods
from toolrest.experiments.plan import CompareFolder, keep_plan, make_plan
from toolrest.experiments.sameness import check_unchanged, differing
from toolrest.recipe import changed, dump_recipe, load_recipe


@pytest.fixture
def comparison(tmp_path):
    recipe = load_recipe(None, ["max_steps=2", "evaluation.samples=10", "dialect=auto"])
    folder = CompareFolder(tmp_path / "c")
    plan = keep_plan(folder, make_plan(recipe, read_methods("grpo,rest"), (0, 1), "grpo", 1))
    return folder, plan


def begin(folder, plan, method, seed, *overrides, **fitted):
    """Write the recipe that a cell's run has, with what it works out, and with these overrides."""
    known = next(each for each in plan.methods if each.name == method)
    run = folder.run(method, seed)
    run.path.mkdir(parents=True)
    recipe = apply_method(plan.recipe, known)
    data = recipe.data.model_copy(update={"prompt": "rlla", "think": True})
    recipe = recipe.model_copy(
        update={"name": run.path.name, "seed": seed, "dialect": "rlla", "data": data} | fitted
    )
    run.recipe.write_text(dump_recipe(recipe))
    if overrides:
        run.recipe.write_text(dump_recipe(load_recipe(run.recipe, list(overrides))))
    return run


def test_runs_of_the_plan_are_taken(comparison):
    folder, plan = comparison
    begin(folder, plan, "grpo", 0)
    begin(folder, plan, "rest", 1)
    begin(folder, plan, "rest", 0, "optimizer.micro_batch=2", "guards.warn=false")
    check_unchanged(folder, plan)
    assert not [line for line in differing(folder, plan) if "the plan" in line]


def test_what_is_worked_out_may_be_open_in_the_plan(comparison):
    folder, plan = comparison
    begin(folder, plan, "grpo", 0, "optimizer.learning_rate=1e-3")
    with pytest.raises(InputError, match=r"grpo-seed0 has optimizer.learning_rate=0.001"):
        check_unchanged(folder, make_plan(
            changed(plan.recipe, {"optimizer.learning_rate": 2e-4}), plan.methods, (0,), "grpo", 1
        ))  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("max_steps=3", r"max_steps=3, and the plan 2"),
        ("seed=7", r"seed=7, and the plan 0"),
        ("weighting.scheme=rest", r"weighting\.scheme='rest', and the plan 'uniform'"),
        ("lora.rank=4", r"lora\.rank=4, and the plan 0"),
        ("evaluation.samples=11", r"evaluation\.samples=11, and the plan 10"),
        ("rollout.temperature=0.5", r"rollout\.temperature=0\.5, and the plan 1\.0"),
        ("data.max_prompt_tokens=99", r"data\.max_prompt_tokens=99"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_run_of_another_recipe_is_refused_and_told(comparison, override, words, finished):
    folder, plan = comparison
    plan = make_plan(
        changed(plan.recipe, {"data.max_prompt_tokens": 640}), plan.methods, (0, 1), "grpo", 1
    )
    run = begin(folder, plan, "grpo", 0, override)
    if finished:
        run.summary.write_text("{}")
    with pytest.raises(InputError, match=f"its run grpo-seed0 has {words}") as refused:
        check_unchanged(folder, plan)
    assert "\n" not in str(refused.value)
    assert any(line.startswith("grpo-seed0 has ") for line in differing(folder, plan))


def test_what_many_runs_differ_in_is_said_once(comparison):
    folder, plan = comparison
    for method in ("grpo", "rest"):
        for seed in (0, 1):
            run = begin(folder, plan, method, seed)
            run.summary.write_text("{}")
            first = (method, seed) == ("grpo", 0)
            run.environment.write_text(json.dumps({"commit": "a" * 40 if first else "b" * 40}))
    (line,) = [line for line in differing(folder, plan) if "commit" in line]
    assert line.startswith("grpo-seed1; rest-seed0; rest-seed1: ")
