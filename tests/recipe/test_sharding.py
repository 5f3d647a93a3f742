"""What a recipe cannot have where its processes share the policy."""

import pytest

from toolrest.engines.trl.trainer import ResTConfig
from toolrest.errors import InputError
from toolrest.recipe import Recipe, load_recipe
from toolrest.recipe.sharding import check_device, is_parted

TWO = "engine.processes=2"


@pytest.mark.parametrize("sharding", ["zero2", "zero3"])
def test_no_step_of_deepspeed_is_left_out(sharding):
    load_recipe(None, [TWO, f"engine.sharding={sharding}"])
    with pytest.raises(InputError, match=r"guards\.non_finite=skip with engine\.sharding=zero"):
        load_recipe(None, [TWO, f"engine.sharding={sharding}", "guards.non_finite=skip"])
    load_recipe(None, [TWO, "engine.sharding=fsdp", "guards.non_finite=skip"])


@pytest.mark.parametrize("sharding", ["fsdp", "zero3"])
@pytest.mark.parametrize(
    ("key", "mend"),
    [("rollout.sampler=shared_prefix", "generate"), ("optimizer.micro_tokens=900", "micro_batch")],
)
def test_processes_with_parts_forward_in_step(sharding, key, mend):
    words = [TWO, f"engine.sharding={sharding}", key]
    with pytest.raises(InputError, match=f"forward in step.*; use .*{mend}"):
        load_recipe(None, words)
    load_recipe(None, [TWO, key])
    with pytest.raises(InputError, match="forward in step"):
        load_recipe(None, words[1:])


def test_which_recipes_train_a_policy_in_parts():
    def parted(**engine):
        return is_parted(Recipe(engine=engine))

    assert parted(processes=2, sharding="fsdp") and parted(nodes=2, sharding="zero3")
    assert parted(sharding="fsdp")
    assert not parted(processes=2, sharding="zero2") and not parted(processes=2)
    assert not parted(name="verl", processes=2, sharding="fsdp")


@pytest.mark.parametrize("sharding", ["fsdp", "zero2", "zero3"])
def test_a_cpu_shares_no_policy(sharding):
    recipe = Recipe(engine={"processes": 2, "sharding": sharding})
    check_device(recipe, gpu=True)
    with pytest.raises(InputError, match=f"engine.sharding={sharding} needs GPUs.*=ddp"):
        check_device(recipe, gpu=False)
    with pytest.raises(InputError, match="needs GPUs"):
        check_device(Recipe(engine={"sharding": sharding}), gpu=False)
    check_device(Recipe(engine={"processes": 2}), gpu=False)


def test_the_trainer_refuses_to_leave_out_a_step_of_deepspeed(tmp_path):
    from toolrest.core.weights import Uniform
    from toolrest.engines.trl.checks import check_settings

    args = ResTConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, non_finite="skip")
    check_settings(args, Uniform())
    args.deepspeed_plugin = object()
    with pytest.raises(InputError, match="non_finite='skip' with DeepSpeed"):
        check_settings(args, Uniform())
    args.non_finite = "stop"
    check_settings(args, Uniform())
