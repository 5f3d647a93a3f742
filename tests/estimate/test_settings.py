"""What a recipe leaves unsaid, worked out by hand."""

from dataclasses import replace

import pytest

from toolrest.estimate.needs import Device, needed
from toolrest.estimate.settings import (
    Lengths,
    fitting_changes,
    learning_rate,
    response_tokens,
    work_out,
)
from toolrest.estimate.shape import PUBLISHED, ModelShape
from toolrest.recipe import Recipe, changed, parse_recipe

QWEN = PUBLISHED["Qwen/Qwen3-1.7B"]
SMOL = ModelShape(30, 576, 9, 3, 64, 1536, 49_152, tied=True)
CPU = Device("this machine's CPU", 16e9)
GPU = Device("H100", 80e9, gpu=True, bfloat16=True)
LENGTHS = Lengths(tuple(range(501, 601)), tuple(range(301, 401)))
"""A hundred each: 99% have at most 599, and 399."""


def values(recipe, shape=SMOL, device=CPU, lengths=LENGTHS, positions=None):
    found, made = work_out(recipe, shape, device, lengths, positions)
    for each in made:
        section, _, name = each.key.partition(".")
        assert getattr(getattr(found, section), name) == each.value and each.why
    return found, {each.key: each.value for each in made}


def test_a_policy_of_135_million_on_a_cpu():
    assert round(SMOL.parameters / 1e6, 1) == 134.5
    _, made = values(Recipe(policy="x"))
    # 1.25 x 399 = 498.75, to 512; 600 to 608, within a quarter of 599; 1e-6 x 11.15^0.7 = 5.4e-6;
    # 1120 tokens a response with its prompt: 7 would be under 8,192, and of 4 x 8 only 4 divide
    assert made == {
        "engine.precision": "float32",
        "rollout.max_response_tokens": 512,
        "data.max_prompt_tokens": 608,
        "optimizer.learning_rate": 5e-6,
        "warm_start.learning_rate": 5e-5,
        "rollout.prompts_per_step": 4,
        "rollout.group_size": 8,
        "optimizer.micro_batch": 4,
        "evaluation.batch_size": 64,
    }


def test_a_policy_of_1_7_billion_on_a_gpu():
    recipe = parse_recipe({"policy": "x", "lora": {"rank": 32}}, "x")
    _, made = values(recipe, QWEN, GPU)
    assert made["engine.precision"] == "bfloat16"
    assert made["rollout.prompts_per_step"] == 16 and made["rollout.group_size"] == 8
    assert made["optimizer.learning_rate"] == 1e-5, "ten times all parameters' 1e-6"
    assert made["optimizer.micro_batch"] in (8, 16, 32) and made["evaluation.batch_size"] == 128
    _, old = values(recipe, QWEN, replace(GPU, bfloat16=False))
    assert old["engine.precision"] == "float32"


@pytest.mark.parametrize(
    ("parameters", "lora", "rate"),
    [
        (1e12, False, 1e-6),
        (1.5e9, False, 1e-6),
        (1.5e9, True, 1e-5),
        (1.5e8, False, 5e-6),  # 1e-6 x 10^0.7 = 5.01e-6
        (1.5e8, True, 5e-5),
        (1e3, False, 2e-4),
        (1e3, True, 1e-3),
    ],
)
def test_learning_rates_by_hand(parameters, lora, rate):
    assert learning_rate(parameters, lora=lora) == pytest.approx(rate, rel=1e-9)


def test_supervised_rates_are_ten_times_those_of_reinforcement_learning():
    assert values(Recipe(policy="x"))[1]["warm_start.learning_rate"] == pytest.approx(5e-5)
    adapters = parse_recipe({"policy": "x", "lora": {"rank": 8}}, "x")
    assert values(adapters)[1]["warm_start.learning_rate"] == pytest.approx(5e-4)
    tiny = replace(SMOL, layers=1, hidden=8, heads=1, kv_heads=1, intermediate=8, vocab=100)
    assert values(adapters, tiny)[1]["warm_start.learning_rate"] == 1e-3, "and never more"


def test_what_is_said_stays_and_a_whole_recipe_is_never_worked_out_anew():
    recipe = parse_recipe({"policy": "x", "rollout": {"group_size": 4}}, "x")
    found, made = values(recipe)
    assert "rollout.group_size" not in made and found.rollout.group_size == 4
    again = parse_recipe(found.model_dump(mode="json"), "x")
    assert work_out(again, QWEN, GPU, Lengths()) == (again, ())


@pytest.mark.parametrize("values_", [{"policy": "embedded"}, {"policy": "x", "engine": "verl"}])
def test_the_embedded_policy_and_verl_keep_the_schemas_values(values_):
    recipe = parse_recipe(values_, "x")
    assert work_out(recipe, SMOL, CPU, LENGTHS) == (recipe, ())


def test_room_for_a_thought_that_the_data_do_not_show():
    assert response_tokens(Lengths((), (100,) * 50)) == 128  # 125
    assert response_tokens(Lengths((), (100,) * 50, thoughts=False)) == 640  # 637


def test_one_long_prompt_does_not_set_the_limit_and_positions_do():
    prompts = (*([100] * 199), 9000)
    _, made = values(Recipe(policy="x"), lengths=Lengths(prompts, (10,)))
    assert made["data.max_prompt_tokens"] == 128
    _, made = values(Recipe(policy="x"), lengths=Lengths((900,), (900,)), positions=1024)
    assert made["rollout.max_response_tokens"] == 512 and made["data.max_prompt_tokens"] == 512


def test_few_rows_give_few_prompts_a_step():
    _, made = values(Recipe(policy="x"), QWEN, GPU, Lengths((50,) * 10, (20,) * 10))
    assert made["rollout.prompts_per_step"] == 8  # of 10 rows one is held out, and one is spare
    _, made = values(Recipe(policy="x"), QWEN, GPU, Lengths((50,) * 4, (20,) * 4))
    assert made["rollout.prompts_per_step"] == 2


def test_what_is_worked_out_fits_what_is_said():
    said = {"policy": "x", "optimizer": {"mini_batch": 2, "micro_batch": 16}, "save_steps": 8}
    found, _ = values(parse_recipe(said, "x"))
    assert found.rollout.prompts_per_step == 4 and found.updates_per_generation == 2
    found, _ = values(parse_recipe({"policy": "x", "engine": {"processes": 2}}, "x"))
    assert found.responses_per_update // 2 % found.responses_per_forward == 0


def test_without_a_shape_the_data_and_the_device_tell_what_they_can():
    _, made = values(Recipe(policy="x"), None)
    assert set(made) == {
        "engine.precision",
        "rollout.max_response_tokens",
        "data.max_prompt_tokens",
    }


@pytest.mark.parametrize("free", [4e9, 8e9, 32e9, 128e9])
@pytest.mark.parametrize("rank", [0, 16])
def test_what_is_worked_out_leaves_room_or_one_response_a_forward(free, rank):
    recipe = parse_recipe({"policy": "x", "lora": {"rank": rank}}, "x")
    device = replace(CPU, memory=free)
    found, made = values(recipe, device=device)
    peak = needed(found, SMOL, device).peak
    assert peak <= 0.8 * free or made["optimizer.micro_batch"] == 1
    changes = fitting_changes(found, SMOL, device)
    if peak > free and changes is not None:
        assert needed(changed(found, changes), SMOL, device).peak <= free


def test_the_fewest_changes_are_named_first():
    recipe = changed(Recipe(policy="x"), {"optimizer.micro_batch": 128})
    assert fitting_changes(recipe, SMOL, replace(CPU, memory=1e13)) == {}
    each = needed(changed(recipe, {"optimizer.micro_batch": 2}), SMOL, CPU).peak
    assert fitting_changes(recipe, SMOL, replace(CPU, memory=each)) == {"optimizer.micro_batch": 2}
    by_tokens = changed(recipe, {"optimizer.micro_batch": None, "optimizer.micro_tokens": 10**6})
    found = fitting_changes(by_tokens, SMOL, replace(CPU, memory=each))
    assert found == {"optimizer.micro_tokens": 2 * recipe.longest_sequence}
    assert fitting_changes(recipe, SMOL, replace(CPU, memory=1e9)) is None, "2 GB are the process's"


def test_keys_and_values_of_float32_take_twice_the_bytes_and_groups_share_their_prompt():
    # 2 x 30 layers x 192: 11,520 numbers a token; 16 prompts of 1,024, 128 responses of 192
    memory = needed(Recipe(policy="x"), SMOL, CPU)
    assert memory.sampling == 4 * 11_520 * (16 * 1024 + 128 * 192)
    single = changed(Recipe(policy="x"), {"rollout.sampler": "generate"})
    assert needed(single, SMOL, CPU).sampling == 4 * 11_520 * 128 * 1216


def test_a_supervised_run_needs_its_own_forwards_and_samples_only_to_evaluate():
    """6 of a batch of 32 do not divide: 2 do; and 4 held-out samples at once, not 128 responses."""
    said = {"policy": "x", "method": "sft", "optimizer": {"micro_batch": 6}}
    said |= {"evaluation": {"samples": 4}, "rollout": {"prompts_per_step": 12}}
    memory = needed(parse_recipe(said, "x"), SMOL, CPU)
    two = {"policy": "x", "optimizer": {"micro_batch": 2}, "rollout": {"prompts_per_step": 12}}
    assert memory.activations == needed(parse_recipe(two, "x"), SMOL, CPU).activations
    assert memory.sampling == 4 * 11_520 * 4 * 1216
