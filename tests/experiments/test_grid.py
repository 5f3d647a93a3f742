"""Methods times learning rates, and their plan."""

import pytest
from grids import RECIPE, plan_of
from hypothesis import given
from hypothesis import strategies as st

from toolrest.errors import InputError
from toolrest.experiments.grid import make_grid, read_rates, with_rate, written_rate
from toolrest.experiments.methods import read_methods
from toolrest.experiments.plan import (
    CompareFolder,
    check_kind,
    keep_plan,
    load_plan,
    make_plan,
    make_stability_plan,
)
from toolrest.recipe import load_recipe, parse_recipe


def test_a_cell_is_a_method_with_a_rate():
    made = with_rate(read_methods("rest")[0], 0.0016)
    assert made.name == "rest-lr1.6e-3"
    assert made.overrides[-1] == "optimizer.learning_rate=1.6e-3"
    plan = plan_of()
    names = [method.name for method in plan.methods]
    assert names == ["grpo-lr1e-4", "grpo-lr2e-4", "rest-lr1e-4", "rest-lr2e-4"]
    assert plan.recipe.collapse.end and plan.baseline == "grpo"
    assert plan.cells()[:5] == [*((name, 0) for name in names), ("grpo-lr1e-4", 1)]


@pytest.mark.parametrize(
    ("rate", "written"),
    [(1e-4, "1e-4"), (0.0016, "1.6e-3"), (2.5e-7, "2.5e-7"), (1.0, "1e0"), (12.5, "1.25e1")],
)
def test_a_rate_is_written_as_people_do(rate, written):
    assert written_rate(rate) == written


@given(st.floats(1e-12, 1e3))
def test_a_written_rate_is_that_rate(rate):
    assert float(written_rate(rate)) == pytest.approx(rate, rel=1e-11)


def test_rates_are_read_in_order_and_follow_the_recipe_where_none_are_said():
    assert read_rates("4e-4, 1e-4", 1.0) == (1e-4, 4e-4)
    assert read_rates(None, 2e-4) == (1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3)
    for wrong in ("1e-4", "1e-4,1e-4", "1e-4,-1", "1e-4,inf", "a,b", "", "0,1", "nan,1"):
        with pytest.raises(InputError, match="two learning rates or more"):
            read_rates(wrong, 1.0)


def test_a_rate_is_the_one_that_its_runs_are_named_by():
    assert read_rates(f"{3 * 1e-4!r},1e-4", 1.0) == (1e-4, 3e-4)  # 0.00030000000000000003
    with pytest.raises(InputError, match="two learning rates or more"):
        read_rates("3e-4,0.00030000000000000003", 1.0)  # both would be runs of -lr3e-4


def test_a_method_with_a_rate_of_its_own_is_refused():
    with pytest.raises(InputError, match="every method has the rates of --rates"):
        make_grid(read_methods("grpo:optimizer.learning_rate=1e-3"), (1e-4, 2e-4))


def test_a_plan_is_kept_and_grows_by_methods_rates_and_seeds(tmp_path):
    folder = CompareFolder(tmp_path / "out")
    keep_plan(folder, plan_of())
    assert load_plan(folder) == plan_of()
    more = keep_plan(folder, plan_of("grpo,gtpo", (2e-4, 4e-4), (2,)))
    assert more.seeds == (0, 1, 2) and more.grid is not None
    assert [m.name for m in more.grid.methods] == ["grpo", "rest", "gtpo"]
    assert more.grid.rates == (1e-4, 2e-4, 4e-4) and len(more.cells()) == 27
    assert load_plan(folder) == more
    assert load_recipe(folder.recipe("gtpo-lr4e-4"), []).optimizer.learning_rate == 4e-4
    with pytest.raises(InputError, match="its method grpo-lr1e-4 is"):
        other = make_grid(read_methods("grpo:optimizer.beta=0.1"), (1e-4, 2e-4)).methods[0]
        renamed = type(other)("grpo", other.overrides)
        grid = make_grid([renamed], (1e-4, 2e-4))
        keep_plan(folder, make_stability_plan(parse_recipe(RECIPE, "x"), grid, (0,), "grpo", 1))


def test_a_comparison_of_the_other_kind_is_refused(tmp_path):
    folder = CompareFolder(tmp_path / "out")
    plan = keep_plan(folder, plan_of())
    with pytest.raises(InputError, match="is one with --stability, and this one is without"):
        check_kind(folder, plan, stability=False)
    check_kind(folder, plan, stability=True)
    plain = make_plan(parse_recipe(RECIPE, "x"), read_methods("grpo"), (0,), "grpo", 1)
    with pytest.raises(InputError, match="is one without --stability, and this one is with"):
        check_kind(folder, plain, stability=True)


def test_what_would_show_no_collapse_is_refused():
    recipe = RECIPE | {"evaluation": {"every": 0, "samples": 2}}
    with pytest.raises(InputError, match=r"evaluation.every=4"):
        plan_of(recipe=recipe)
    with pytest.raises(InputError, match="--baseline gtpo: not one of"):
        grid = make_grid(read_methods("grpo"), (1e-4, 2e-4))
        make_stability_plan(parse_recipe(RECIPE, "x"), grid, (0,), "gtpo", 1)


@pytest.mark.parametrize(
    "own",
    ["collapse.end=false", "collapse.format=0.5", "evaluation.every=8", "evaluation.samples=4"],
)
def test_a_method_that_is_judged_otherwise_is_refused(own):
    """It would seem to withstand more, or be looked at less often, than the others."""
    with pytest.raises(InputError, match=f"^method mine-lr1e-4: it has {own},"):
        plan_of(f"grpo,mine:{own}")


def test_what_stability_cannot_be_is_said_of_stability():
    recipe = RECIPE | {"environment": {"source": "world"}}
    with pytest.raises(InputError, match=r"^--stability sets collapse.end=true: .*not measured"):
        plan_of(recipe=recipe)


def test_runs_that_are_to_go_on_after_a_collapse_are_refused():
    for end in (True, None):
        collapse = {} if end is None else {"collapse": {"end": end}}
        assert plan_of(recipe=RECIPE | collapse).recipe.collapse.end
    with pytest.raises(InputError, match=r"^collapse.end=false: .*use collapse.end=true"):
        plan_of(recipe=RECIPE | {"collapse": {"end": False}})


def test_an_end_at_a_collapse_is_for_stability_alone():
    recipe = parse_recipe(RECIPE | {"collapse": {"end": True}}, "x")
    with pytest.raises(InputError, match="compare with --stability"):
        make_plan(recipe, read_methods("grpo"), (0,), "grpo", 1)
