import pytest

from toolrest.errors import InputError
from toolrest.experiments.methods import (
    PRESETS,
    apply_method,
    check_methods,
    measured_otherwise,
    read_methods,
)
from toolrest.experiments.plan import CompareFolder, keep_plan, load_plan, make_plan, read_seeds
from toolrest.recipe import Recipe, load_recipe

IN_AN_ENVIRONMENT = ("steps", "trajectories", "turns")
LATER_UPDATES = ("trust", "llds")


def test_presets_that_act_on_later_updates_need_one():
    for name in LATER_UPDATES:
        with pytest.raises(InputError, match="each generation has one update"):
            check_methods(Recipe(), [PRESETS["grpo"], PRESETS[name]])


def test_every_other_preset_fits_the_embedded_recipe():
    others = [each for name, each in PRESETS.items() if name not in IN_AN_ENVIRONMENT]
    fits = [each for each in others if each.name not in LATER_UPDATES]
    assert check_methods(Recipe(), fits).keys() == {each.name for each in fits}
    two = load_recipe(None, ["optimizer.mini_batch=8", "save_steps=2", "max_steps=24"])
    recipes = check_methods(two, others)
    assert recipes.keys() == PRESETS.keys() - set(IN_AN_ENVIRONMENT)
    assert recipes["grpo"].weighting.scheme == "uniform"
    assert recipes["dr_grpo"].optimizer.loss == "dr_grpo"
    assert recipes["dr_grpo"].advantage.scale == "none"
    assert recipes["spans"].advantage.credit == "spans"
    assert recipes["sft_rest"].warm_start.method == "sft"
    dumped = [recipe.model_dump_json() for recipe in recipes.values()]
    assert len(set(dumped)) == len(dumped)  # no preset is another one


def test_what_is_trained_on_in_an_environment_is_a_preset():
    recipe = load_recipe(None, ["environment.source=world", "advantage.credit=turns"])
    recipes = check_methods(recipe, read_methods(",".join(IN_AN_ENVIRONMENT)))
    found = [(each.acts, each.advantage.credit) for each in recipes.values()]
    assert found == [(False, "response"), (True, "response"), (True, "turns")]
    with pytest.raises(InputError, match="there is no environment"):
        check_methods(Recipe(), read_methods("steps"))


@pytest.mark.parametrize("own", ["environment.source=null", "environment.source=bfcl"])
def test_methods_that_are_evaluated_elsewhere_are_refused(own):
    recipe = load_recipe(None, ["environment.source=world"])
    methods = read_methods(f"steps,other:{own}")
    with pytest.raises(
        InputError, match=f"method other: it is evaluated with {own} and"
    ) as refused:
        make_plan(recipe, methods, (0,), "steps", 1)
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="and the comparison with null"):
        make_plan(Recipe(), read_methods("grpo,a:environment.source=world"), (0,), "grpo", 1)


def test_methods_that_are_measured_otherwise_are_said():
    recipe = load_recipe(None, ["environment.source=world", "environment.max_turns=4"])
    methods = read_methods("steps,trajectories,short:environment.max_turns=2")
    (line,) = measured_otherwise(recipe, methods, "steps")
    told = "environment.max_turns=2, and steps with 4"
    assert line == f"short is trained and measured with {told}"
    assert measured_otherwise(Recipe(), read_methods("grpo,rest"), "grpo") == []


@pytest.mark.parametrize(
    ("preset", "change"),
    [
        ("rest_no_curriculum", {"curriculum": False}),
        ("rest_no_reasoning", {"reasoning_gradient": False}),
    ],
)
def test_an_ablation_of_the_paper_is_one_switch(preset, change):
    rest = check_methods(Recipe(), read_methods("rest"))["rest"].model_dump()
    found = check_methods(Recipe(), read_methods(preset))[preset].model_dump()
    assert found["weighting"]["options"] == change
    rest["weighting"]["options"] = change
    assert found == rest


def test_without_the_reward_schedule_all_else_is_rest():
    both = check_methods(Recipe(), read_methods("rest,rest_constant_reward"))
    rest, found = (both[name].model_dump() for name in ("rest", "rest_constant_reward"))
    rest["reward"]["schedule"] = "constant"
    assert found == rest


def test_the_paper_s_kl_term_is_all_that_its_ablation_adds():
    both = check_methods(Recipe(), read_methods("rest,rest_kl"))
    rest, found = (both[name].model_dump() for name in ("rest", "rest_kl"))
    rest["optimizer"]["beta"] = 0.003
    assert found == rest


def test_methods_of_one_s_own():
    plain, tuned, own = read_methods(
        "grpo,rest:optimizer.learning_rate=1e-4,mine:optimizer.loss=dapo+weighting.scheme=gtpo"
    )
    assert plain is PRESETS["grpo"]
    assert tuned.name == "rest-optimizer.learning_rate-1e-4"
    assert apply_method(Recipe(), tuned).optimizer.learning_rate == 1e-4
    made = apply_method(Recipe(), own)
    assert (own.name, made.optimizer.loss, made.weighting.scheme) == ("mine", "dapo", "gtpo")


def test_paths_of_a_method_hold_in_another_folder(tmp_path, monkeypatch):
    (tmp_path / "policy").mkdir()
    monkeypatch.chdir(tmp_path)
    own, hub, embedded = read_methods("a:policy=policy,b:policy=not/there,c:policy=embedded")
    assert own.overrides == (f"policy={tmp_path / 'policy'}",)
    assert hub.overrides == ("policy=not/there",)
    assert embedded.overrides == ("policy=embedded",)


def test_options_of_another_scheme_do_not_leak():
    recipe = load_recipe(None, ["weighting.options.w_max=3.0", "weighting.entropy_decay=0.5"])
    recipes = check_methods(recipe, read_methods("grpo,rest,stare"))
    assert recipes["grpo"].weighting.options == recipes["stare"].weighting.options == {}
    assert recipes["rest"].weighting.options == {"w_max": 3.0}
    assert recipes["rest"].weighting.entropy_decay == 0.5


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("grop", "did you mean 'grpo'"),
        ("", "no methods"),
        ("grpo,grpo", "given twice"),
        ("../../elsewhere:max_steps=3", "a name is letters"),
        (":max_steps=3", "a name is letters"),
        ("my method:max_steps=3", "a name is letters"),
    ],
)
def test_wrong_methods_are_named(written, words):
    with pytest.raises(InputError, match=words):
        read_methods(written)


def test_an_override_that_does_not_fit_names_the_method():
    with pytest.raises(InputError, match=r"did you mean 'optimizer\.loss'"):
        check_methods(Recipe(), read_methods("mine:optimizer.los=dapo"))
    with pytest.raises(InputError, match="method mine: max_steps"):
        check_methods(Recipe(), read_methods("mine:max_steps=0"))


def test_seeds():
    assert read_seeds("3") == (0, 1, 2)
    assert read_seeds("3,5") == (3, 5)
    for wrong in ("", "x", "0", "1,1", "-1"):
        with pytest.raises(InputError, match="--seeds"):
            read_seeds(wrong)


def plan_of(methods="grpo,rest", seeds=(0, 1), baseline="grpo", *overrides):
    recipe = load_recipe(None, list(overrides))
    return make_plan(recipe, read_methods(methods), seeds, baseline, 1)


def test_a_plan_is_kept_and_can_grow(tmp_path):
    folder = CompareFolder(tmp_path / "c")
    keep_plan(folder, plan_of())
    grown = keep_plan(folder, plan_of("official", (1, 2), "official"))
    assert [method.name for method in grown.methods] == ["grpo", "rest", "official"]
    assert grown.seeds == (0, 1, 2)
    assert load_plan(folder) == grown
    assert folder.recipe("official").is_file()
    assert grown.cells()[:3] == [("grpo", 0), ("rest", 0), ("official", 0)]


def test_another_recipe_or_method_is_refused(tmp_path):
    folder = CompareFolder(tmp_path / "c")
    keep_plan(folder, plan_of("grpo,mine:weighting.scheme=stare"))
    with pytest.raises(InputError, match="its runs have max_steps=25, now it is 7"):
        keep_plan(folder, plan_of("grpo", (0,), "grpo", "max_steps=7"))
    with pytest.raises(InputError, match=r"its method mine is weighting\.scheme=stare"):
        keep_plan(folder, plan_of("grpo,mine:weighting.scheme=gtpo"))


@pytest.mark.parametrize(
    "before",
    ["weighting.options.curriculum=false", "reward.correctness={partial: 1, exact: 1}"],
)
def test_a_key_that_is_gone_is_another_recipe(tmp_path, before):
    folder = CompareFolder(tmp_path / "c")
    keep_plan(folder, plan_of("rest", (0,), "rest", before))
    with pytest.raises(InputError, match="now it is 'not set'"):
        keep_plan(folder, plan_of("rest", (0,), "rest"))


def test_a_baseline_that_is_no_method_is_named():
    with pytest.raises(InputError, match="--baseline dapo"):
        plan_of("grpo,rest", (0,), "dapo")


@pytest.mark.parametrize("text", ["", "[]", "a: [", "methods: 3", "recipe: {max_step: 3}"])
def test_a_broken_plan_is_named(tmp_path, text):
    folder = CompareFolder(tmp_path)
    folder.plan.write_text(text)
    with pytest.raises(InputError, match=r"compare\.yaml"):
        load_plan(folder)


def test_no_plan_is_named(tmp_path):
    with pytest.raises(InputError, match="no comparison is there"):
        load_plan(CompareFolder(tmp_path))
