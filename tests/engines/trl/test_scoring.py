"""Rewards with label noise, as the trainer scores the ids that were sampled."""

import pytest
from datasets import Dataset
from trl_settings import settings

from toolrest.core.rewards.noise import noisy_totals
from toolrest.core.rewards.turns import Turns
from toolrest.engines.common.asked import Asked
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.generation import Generation
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.world.tasks import Split, make_samples


def noisy(folder, tokenizer, rewards, **more):
    """A trainer in the middle of a generation, its rows, and the ids of their right replies."""
    samples = make_samples(Split.TRAIN, 16)
    rows = [{"prompt": list(s.prompt), "ground_truth": s.ground_truth} for s in samples]
    policy = load_policy(Recipe())
    trainer = ResTTrainer(
        model=policy,
        processing_class=tokenizer,
        reward_funcs=list(rewards),
        train_dataset=Dataset.from_list(rows),
        args=ResTConfig(**settings(folder), **more),
    )
    policy.train()
    begin(trainer, rows)
    return trainer, rows, [tokenizer(row["ground_truth"])["input_ids"] for row in rows]


def begin(trainer, rows):
    trainer._generation = Generation.of(rows)
    trainer._generation.openings = [""] * len(rows)


def scores(trainer, reward, rows, ids):
    return trainer._scoring(reward, rows)(completion_ids=ids, log_metric=lambda name, value: None)


def test_each_reward_is_turned_round_on_its_own_range(tmp_path, embedded_tokenizer):
    """Right replies earn 4 and 1, and -2 and 0 where their correctness is the opposite."""
    rewards = ToolReward(schedule="constant"), ToolReward(schedule="binary", correctness="exact")
    trainer, rows, ids = noisy(tmp_path, embedded_tokenizer, rewards, label_noise=1.0)
    first, second = (scores(trainer, each, rows, ids) for each in rewards)
    assert first == pytest.approx([-2.0] * 16) and second == pytest.approx([0.0] * 16)


def test_every_generation_of_a_step_is_drawn_anew(tmp_path, embedded_tokenizer):
    """Two generations for each optimiser step; those of the same place are the same again."""
    reward = ToolReward()
    more = {"label_noise": 0.5, "steps_per_generation": 1, "gradient_accumulation_steps": 2}
    trainer, rows, ids = noisy(tmp_path, embedded_tokenizer, [reward], **more)
    drawn = []
    for micro_step in (0, 1, 2):
        trainer._step = micro_step
        begin(trainer, rows)
        drawn.append(scores(trainer, reward, rows, ids))
    assert drawn[0] != drawn[1] and drawn[0] == drawn[2]


NO_CALL = "<think>t</think>\n<response>It is.</response>"


@pytest.mark.parametrize("schedule", ["rest", "binary"])
@pytest.mark.parametrize("punished", [True, False])
def test_rows_whose_correctness_earns_nothing_are_left_alone(
    tmp_path, embedded_tokenizer, schedule, punished
):
    """Where no call is due and calls are not punished there is nothing to turn round."""
    reward = ToolReward(schedule=schedule, punish_over_calls=punished)
    trainer, rows, ids = noisy(tmp_path, embedded_tokenizer, [reward], label_noise=1.0)
    rows[0]["ground_truth"], ids[0] = NO_CALL, embedded_tokenizer(NO_CALL)["input_ids"]
    begin(trainer, rows)
    found = scores(trainer, reward, rows, ids)
    true = [each.total for each in trainer._generation.breakdowns]
    due = ["<tool_call>" in row["ground_truth"] for row in rows]
    assert not due[0] and any(due)
    turned = [a != b for a, b in zip(found, true, strict=True)]
    assert turned == [punished or each for each in due]


def test_a_dialogue_counts_where_one_of_its_steps_owes_a_call():
    """The mean over its steps is turned round whole, however its floats round."""
    call = '<think>t</think>\n<tool_call>\n{"name": "f", "parameters": {"a": 1}}\n</tool_call>'
    reward = ToolReward(schedule="rest", punish_over_calls=False)
    assert reward.counts_correctness(Asked((NO_CALL, call)))
    assert not reward.counts_correctness(Asked((NO_CALL, NO_CALL)))
    assert not reward.counts_correctness(Asked(NO_CALL))
    assert ToolReward().counts_correctness(Asked(NO_CALL))
    said = Turns((call, call, call.replace("1", "2")))
    (found,) = reward.score_batch([said], [Asked((call, call, call))], 0.3)
    (turned,) = noisy_totals([found], [True], reward.rules.schedule, 0.3)
    assert turned < found.format_reward < found.total
