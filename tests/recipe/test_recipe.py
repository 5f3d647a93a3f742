import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.errors import InputError
from toolrest.recipe import Recipe, dump_recipe, load_recipe


def test_no_recipe_is_the_default():
    assert load_recipe(None, []) == Recipe()


def test_a_dumped_recipe_is_read_back(tmp_path):
    recipe = load_recipe(None, ["seed=7", "weighting.options.curriculum=false"])
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe))
    assert load_recipe(path, []) == recipe


def test_overrides_go_over_the_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("max_steps: 5\nrollout: {group_size: 4}\n")
    recipe = load_recipe(path, ["max_steps=6", "optimizer.learning_rate=1e-6", "data.path=a.json"])
    assert (recipe.max_steps, recipe.rollout.group_size) == (6, 4)
    assert recipe.optimizer.learning_rate == 1e-6
    assert recipe.data.path == "a.json"


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("max_step=3", "did you mean 'max_steps'"),
        ("rollout.groupsize=3", "did you mean 'rollout.group_size'"),
        ("max_steps=0", "greater than or equal to 1"),
        ("max_steps=abc", "valid integer"),
        ("max_steps=1.5", "valid integer"),
        ("max_steps", "write max_steps=VALUE"),
        ("=5", "key=value"),
        ("rollout=5", "is a section"),
        ("seed.x=5", "one value and no keys"),
        ("dialect=rlle", "did you mean 'rlla'"),
        ("reward.schedule=restt", "did you mean 'rest'"),
        ("optimizer.micro_batch=7", "does not divide the 128"),
        ("name=../outside", "no folder in it"),
        ("max_steps={", "not YAML"),
    ],
)
def test_wrong_overrides_are_named(override, text):
    with pytest.raises(InputError, match=text):
        load_recipe(None, [override])


@pytest.mark.parametrize(
    ("written", "value"),
    [("010", 10), ("+7", 7), ("0", 0), ("1e3", 1000), ("1.0e+3", 1000), ("12", 12)],
)
def test_numbers_are_what_is_written(written, value, tmp_path):
    """YAML 1.1 reads 010 as 8 and 1:30 as 90."""
    path = tmp_path / "a.yaml"
    path.write_text(f"seed: {written}\n")
    assert load_recipe(path, []).seed == load_recipe(None, [f"seed={written}"]).seed == value


@pytest.mark.parametrize(
    "written",
    [
        *("seed=1:30", "seed=true", "seed=0x10", "rollout.temperature=1:30"),
        *("rollout.temperature=.inf", "optimizer.learning_rate=.inf", "rollout.temperature=yes"),
        *("optimizer.learning_rate=.nan", "policy=true", "data.path=my #1.jsonl", "seed=1 #2"),
    ],
)
def test_what_is_no_number_is_refused(written):
    with pytest.raises(InputError):
        load_recipe(None, [written])


def test_a_quoted_value_keeps_its_hash():
    assert load_recipe(None, ["data.path='a #1.jsonl'"]).data.path.endswith("/a #1.jsonl")
    assert load_recipe(None, ["data.path=a#1.jsonl"]).data.path.endswith("/a#1.jsonl")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"- a\n- b", "a mapping of keys, not a list"),
        (b"a: [", "not YAML"),
        (b"\xff", "cannot be read"),
        (b"!!python/object/apply:os.system ['true']", "not YAML"),
        (b"1: 2", "unknown recipe key"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, content, text):
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=text):
        load_recipe(path, [])


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(InputError, match="no such recipe"):
        load_recipe(tmp_path / "r.yaml", [])


def test_checkpoints_fall_between_generations():
    with pytest.raises(InputError, match="use 12"):
        load_recipe(None, ["optimizer.iterations=4"])


@given(st.lists(st.text(max_size=12), max_size=3))
def test_any_override_is_read_or_named(overrides):
    with contextlib.suppress(InputError):
        load_recipe(None, overrides)


@pytest.mark.parametrize("name", ["embedded", "rlla-smoke"])
def test_the_shipped_recipes_are_valid(name, request):
    load_recipe(request.config.rootpath / "recipes" / f"{name}.yaml", [])


def test_the_embedded_recipe_is_the_default(request):
    assert load_recipe(request.config.rootpath / "recipes" / "embedded.yaml", []) == Recipe()


def test_one_size_of_a_forward_takes_the_place_of_the_other(tmp_path):
    """Which the file has, worked out or said; two in one place are refused."""
    path = tmp_path / "recipe.yaml"
    path.write_text("optimizer: {micro_batch: 4}\n")
    found = load_recipe(path, ["optimizer.micro_tokens=2000"]).optimizer
    assert (found.micro_batch, found.micro_tokens) == (None, 2000)
    path.write_text("optimizer: {micro_tokens: 2000}\n")
    found = load_recipe(path, ["optimizer.micro_batch=4"]).optimizer
    assert (found.micro_batch, found.micro_tokens) == (4, None)
    both = ["optimizer.micro_batch=4", "optimizer.micro_tokens=2000"]
    with pytest.raises(InputError, match="both say how large a forward is"):
        load_recipe(None, both)


@pytest.mark.parametrize("nothing", ["null", "~", ""])
def test_a_size_that_is_taken_back_leaves_the_other(tmp_path, nothing):
    path = tmp_path / "recipe.yaml"
    path.write_text("optimizer: {micro_batch: 8}\n")
    found = load_recipe(path, [f"optimizer.micro_tokens={nothing}"]).optimizer
    assert (found.micro_batch, found.micro_tokens) == (8, None)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("evaluation.samples=true", "=true: no number and no text; write evaluation.samples=VALUE"),
        ("evaluation.samples=true", "such as 256"),
        ("evaluation.samples=no", "evaluation.samples=false: no number and no text"),
        (
            "max_steps=on",
            "max_steps=true: no number and no text; write max_steps=VALUE, such as 25",
        ),
        ("policy=true", "policy=true: no number and no text; write policy=VALUE, such as embedded"),
        ("lora.rank=yes", "lora.rank=true: no number and no text; write lora.rank=VALUE"),
        ("data.sources=[{path: a, take: true}]", "data.sources.0.take=true: no number and no text"),
    ],
)
def test_true_and_false_where_a_number_is_due_are_explained(written, said):
    with pytest.raises(InputError) as error:
        load_recipe(None, [written])
    assert said in str(error.value) and "value error" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["reward.weights=[1, 2]"], "reward.weights weighs .* there is none"),
        (
            ["reward.function=a.py:f", "reward.weights=[1]"],
            "has 1 number; it takes 1 for the rules and 1 for",
        ),
        (["max_epochs=2", "method=sft"], "max_epochs with method=sft"),
        (["lora.base_precision=nf4"], "there are none; set lora.rank"),
        (
            ["lora={rank: 8, base_precision: nf4}", "warm_start.method=sft"],
            "nf4 with supervised learning",
        ),
        (
            ["lora={rank: 8, base_precision: nf4}", "engine={processes: 2, sharding: fsdp}"],
            "nf4 with engine.sharding=fsdp",
        ),
        (
            ["lora={rank: 8, base_precision: nf4}", "rollout.sampler=vllm"],
            "nf4 with rollout.sampler=vllm",
        ),
        (
            ["optimizer.name=adamw_8bit", "engine={processes: 2, sharding: zero2}"],
            "adamw_8bit with engine.sharding=zero2",
        ),
        (["advantage.filter_groups=true"], "use engine=verl"),
        (
            ["optimizer.llds=0.2"],
            r"^optimizer.llds=0.2: each generation has one update.*use optimizer.mini_batch=8 or",
        ),
        (
            ["optimizer.clip_by=region_entropy", "rollout.prompts_per_step=3"],
            r"^optimizer.clip_by=region_entropy: .*use optimizer.iterations=2, or leave it out",
        ),
        (
            ["engine.processes=2", "rollout.prompts_per_step=3", "advantage.credit=spans"],
            "advantage.credit=spans with engine.processes=2: .* rollout.prompts_per_step=4",
        ),
        (
            ["optimizer.clip_by=region_entropy", "optimizer.loss=cispo"],
            "optimizer.loss=cispo clips no token's ratio",
        ),
        (
            ["environment.source=world", "optimizer.mask_truncated=true"],
            "optimizer.mask_truncated with environment.source=world",
        ),
    ],
)
def test_what_a_key_cannot_do_is_refused(overrides, words):
    with pytest.raises(InputError, match=words):
        load_recipe(None, overrides)


def test_one_reward_function_or_several():
    assert load_recipe(None, []).reward.functions == []
    assert load_recipe(None, ["reward.function=a.py:f"]).reward.functions[0].endswith("a.py:f")
    found = load_recipe(None, ["reward.function=[a.py:f, b.py:g]", "reward.weights=[0, 1, 2]"])
    assert [each.rpartition("/")[2] for each in found.reward.functions] == ["a.py:f", "b.py:g"]
    assert all(each.startswith("/") for each in found.reward.functions)
