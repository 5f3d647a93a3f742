"""How long a run takes, of one layer's sums by hand, and against a run that was measured."""

import pytest

from toolrest.estimate.duration import Duration, Speed, describe, duration, evaluated_on, spoken
from toolrest.estimate.needs import Device
from toolrest.estimate.shape import ModelShape
from toolrest.estimate.time import signal_forwards
from toolrest.recipe import parse_recipe

SMOL = ModelShape(30, 576, 9, 3, 64, 1536, 49_152, tied=True)
CPU = Device("this machine's CPU", 16e9)
SPEED = Speed(100e9, 20e9)


def recipe(**values):
    return parse_recipe({"policy": "x", **values}, "x")


def test_supervised_learning_is_its_operations_over_six_tenths_of_the_speed():
    found = duration(
        recipe(method="sft", warm_start={"steps": 10, "batch_size": 4}, evaluation={"samples": 0}),
        *(SMOL, CPU, SPEED),
        prompt_tokens=600,
        response_tokens=400,
    )
    # 40 rows of 1,000 tokens; a token: 2 x 106.2 M of layers, 2 x 30 x 576 x 1000 of attention,
    # 2 x 28.3 M of the head; forward and twice that
    each = 2 * 30 * 3_538_944 + 2 * 30 * 576 * 1000 + 2 * 49_152 * 576
    assert found.supervised == pytest.approx(40_000 * each * 3 / 60e9)
    assert (found.step, found.training, found.evaluation) == (0, 0, 0)


def test_the_measured_step_of_a_policy_of_135_million():
    """LoRA, 2 x 4 responses of 320 tokens to prompts of 540: 150 CPU seconds, of which 29 were a
    forward that is not needed any more; a thread does 100 GFLOP/s. Within a factor of two.
    """
    found = duration(
        recipe(
            lora={"rank": 16},
            rollout={"prompts_per_step": 2, "group_size": 4, "max_response_tokens": 320},
            evaluation={"samples": 0},
            max_steps=5,
        ),
        *(SMOL, CPU, SPEED),
        prompt_tokens=540,
        response_tokens=320,
    )
    assert 60 < found.step < 240 and found.training == pytest.approx(5 * found.step)
    assert found.total == found.training


@pytest.mark.parametrize(
    ("weighting", "rows"),
    [
        ({"scheme": "rest"}, 0),
        ({"scheme": "signal"}, 8),
        ({"scheme": "signal", "options": {"rows": 4}}, 4),
    ],
)
def test_measuring_the_signal_is_a_forward_and_seven_backwards_of_its_rows(weighting, rows):
    """Of 16 responses a generation, 8 an update."""
    made = recipe(
        weighting=weighting,
        rollout={"prompts_per_step": 4, "group_size": 4},
        optimizer={"mini_batch": 2},
    )
    assert signal_forwards(made) == rows / 16 * 15


def test_evaluations_are_counted():
    values = {"max_steps": 10, "save_steps": 10}
    none = duration(recipe(**values, evaluation={"samples": 0}), SMOL, CPU, SPEED, 100, 100)
    two = duration(recipe(**values, evaluation={"samples": 128}), SMOL, CPU, SPEED, 100, 100)
    more = duration(
        recipe(**values, evaluation={"samples": 128, "every": 3}, warm_start={"method": "sft"}),
        *(SMOL, CPU, SPEED, 100, 100),
    )
    assert none.evaluation == 0 < two.evaluation
    # before, after, after the warm start, and at steps 3, 6 and 9
    assert more.evaluation == pytest.approx(3 * two.evaluation)
    late = {"samples": 128, "before": False}
    one = duration(recipe(**values, evaluation=late), SMOL, CPU, SPEED, 100, 100)
    assert one.evaluation == pytest.approx(two.evaluation / 2)


@pytest.mark.parametrize(
    ("heldout", "share"), [(500, 1.0), (128, 1.0), (64, 0.5), (8, 1 / 16), (0, 0.0)]
)
def test_the_time_of_evaluations_is_that_of_the_samples_that_are_held_out(heldout, share):
    asked = recipe(evaluation={"samples": 128, "batch_size": 8}, max_steps=10)
    whole = duration(asked, SMOL, CPU, SPEED, 100, 100)
    found = duration(evaluated_on(asked, heldout), SMOL, CPU, SPEED, 100, 100)
    assert found.evaluation == pytest.approx(share * whole.evaluation)
    assert found.step == whole.step


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0.4 seconds"),
        (89, "89 seconds"),
        (90, "1.5 minutes"),
        (5399, "90 minutes"),
        (5400, "1.5 hours"),
        (36_000, "10 hours"),
        (3 * 86_400, "3.0 days"),
    ],
)
def test_seconds_as_people_say_them(seconds, text):
    assert spoken(seconds) == text


def test_the_line_says_how_good_it_is():
    said = describe(Duration(60, 600, 0, 0), recipe(max_steps=10), SPEED)
    assert said == (
        "time: about 60 seconds a step, 10 minutes for 10 (calculated from 100 GFLOP/s measured "
        "here; it may be half or three times that)"
    )
