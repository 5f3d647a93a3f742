"""What of a run has to have room on the disk."""

import pytest

from toolrest.engines.trl.launch import trl_config
from toolrest.errors import InputError
from toolrest.estimate import added_checkpoints, get_shape
from toolrest.policy.disk import OnDisk, checkpoint_room, refuse_disk
from toolrest.recipe import parse_recipe

NAME = "Qwen/Qwen3-1.7B"
SHAPE = get_shape(NAME)
ONE = 12 * SHAPE.parameters
MODEL = 4 * SHAPE.parameters


def kept_at_once(steps, save, done, there, keep):
    """The most checkpoints that lie there, as each is written before an older one goes."""
    most = now = there
    for step in range(done + 1, steps + 1):
        if step % save == 0 or step == steps:
            most = max(most, now + 1)
            now = now + 1 if keep is None else min(now + 1, keep)
    return most - there


@pytest.mark.parametrize("keep", [1, 2, 3, None])
@pytest.mark.parametrize("steps", [1, 4, 5, 6, 8, 10, 15, 16, 25])
@pytest.mark.parametrize("done", [0, 2, 5, 10, 13])
def test_checkpoints_are_counted_as_a_run_writes_and_drops_them(steps, done, keep):
    values = {"max_steps": steps, "save_steps": 5, "keep_checkpoints": keep}
    recipe = parse_recipe(values, "x")
    for there in range((keep or 3) + 1) if done else (0,):
        assert added_checkpoints(recipe, done, there) == kept_at_once(steps, 5, done, there, keep)


def test_the_best_checkpoint_has_room_besides():
    values = {"max_steps": 100, "save_steps": 10, "evaluation": {"every": 5, "save_best": True}}
    assert added_checkpoints(parse_recipe(values, "x")) == 4
    values |= {"keep_checkpoints": None}
    assert added_checkpoints(parse_recipe(values, "x")) == 10 + 19


@pytest.mark.parametrize(("given", "kept"), [({}, 2), ({"keep_checkpoints": 5}, 5)])
def test_the_trainer_keeps_as_many_as_are_counted(given, kept, tmp_path):
    assert trl_config(parse_recipe(given, "x"), tmp_path).save_total_limit == kept


@pytest.mark.parametrize(
    ("values", "there", "needed", "said"),
    [
        ({}, None, 3 * ONE, "3 checkpoints"),
        ({"max_steps": 5, "save_steps": 10}, None, ONE, "1 checkpoint of"),
        ({"max_steps": 15, "save_steps": 10}, None, 2 * ONE, "2 checkpoints"),
        ({"max_steps": 40, "save_steps": 10}, OnDisk(20, 2), ONE, "1 checkpoint of"),
        ({"max_steps": 40, "save_steps": 10}, OnDisk(40, 2), 0, "0 checkpoints"),
        ({"keep_checkpoints": 4, "max_steps": 90}, None, 5 * ONE, "5 checkpoints"),
        ({"keep_checkpoints": None, "max_steps": 90}, None, 9 * ONE, "9 checkpoints"),
        ({"method": "sft"}, None, MODEL, "the trained policy"),
        ({"method": "sft", "lora": {"rank": 8}}, None, MODEL, "the trained policy"),
        ({"warm_start": {"method": "sft"}}, None, MODEL + 3 * ONE, "the warm-started policy"),
        ({"warm_start": {"method": "sft"}}, OnDisk(0, 0, True), 3 * ONE, "3 checkpoints"),
    ],
)
def test_what_just_fits_is_taken_and_a_byte_less_is_not(values, there, needed, said):
    recipe = parse_recipe({"policy": NAME, **values}, "x")
    found, mend = checkpoint_room(recipe, SHAPE, needed, there)
    assert mend is None and said in found
    refuse_disk(recipe, needed, there)
    if needed:
        with pytest.raises(InputError, match=f"no room for .*{said}"):
            refuse_disk(recipe, needed - 1, there)


def test_runs_side_by_side_keep_their_last_checkpoints_each():
    recipe = parse_recipe({"policy": NAME}, "x")
    needed = (3 + 7 * 2) * ONE  # one of them writes a third
    refuse_disk(recipe, needed, runs=8)
    with pytest.raises(InputError, match=r"3 checkpoints of .* for each of 8 runs"):
        refuse_disk(recipe, needed - 1, runs=8)


def test_the_mend_is_one_that_can_be_followed():
    recipe = parse_recipe({"policy": NAME, "max_steps": 40}, "x")
    begins = checkpoint_room(recipe, SHAPE, 0, elsewhere="use another --out on a larger disk")[1]
    assert begins is not None and "another --out" in begins and "lora.rank=32" in begins
    assert checkpoint_room(recipe, SHAPE, 0, OnDisk(10, 1))[1] == "make room"
