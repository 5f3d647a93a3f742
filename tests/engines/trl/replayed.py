"""Trainings by gradient descent alone on the same responses, to be compared."""

import torch
from trl_settings import settings

from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.rollout import shared_prefix_rollout
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe


class Fixed:
    """Replays the responses of a first run, so that rounding cannot choose other tokens."""

    def __init__(self):
        self.kept, self.at = [], None

    def __call__(self, prompts, trainer):
        made = shared_prefix_rollout(prompts, trainer)
        if self.at is None:
            self.kept.append(made)
            return made
        self.at += 1
        return dict(self.kept[self.at - 1])

    def replay(self):
        self.at = 0


def trained(tmp_path, dataset, tokenizer, rollout, lora=None, **more):
    """(parameters before, after, on the CPU, and what was logged)."""
    torch.manual_seed(0)
    policy = load_policy(Recipe())
    trainer = ResTTrainer(
        model=policy,
        processing_class=tokenizer,
        reward_funcs=[ToolReward()],
        train_dataset=dataset,
        rollout_func=rollout,
        peft_config=lora,
        args=ResTConfig(**settings(tmp_path, optim="sgd", learning_rate=0.05) | more),
    )

    def parameters():
        found = [p.detach().flatten() for p in trainer.model.parameters() if p.requires_grad]
        return torch.cat(found).cpu().clone()

    before = parameters()
    trainer.train()
    return before, parameters(), trainer.state.log_history


def distance(start, one, two):
    """How far apart two trainings end, as a share of the way."""
    assert (one - start).norm() > 0
    return ((two - one).norm() / (one - start).norm()).item()
