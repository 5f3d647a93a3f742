"""Trains GRPO and ResT with uniform weights in the processes that torchrun has started."""

import sys
from pathlib import Path

import torch
from datasets import Dataset
from process_settings import SHORT
from trl import GRPOConfig, GRPOTrainer

from toolrest.engines.common.ranks import join_ranks
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.world.tasks import Split, make_samples

SETTINGS = SHORT | {"max_completion_length": 64, "loss_type": "grpo"}


def train(name: str, kind: type, config: GRPOConfig, out: Path) -> None:
    rows = [
        {"prompt": list(s.prompt), "ground_truth": s.ground_truth}
        for s in make_samples(Split.TRAIN, 16)
    ]
    trainer = kind(
        model=load_policy(Recipe()),
        processing_class=load_tokenizer(Recipe()),
        reward_funcs=[ToolReward()],
        train_dataset=Dataset.from_list(rows),
        args=config,
    )
    trainer.train()
    assert trainer.accelerator.num_processes == 2
    if trainer.accelerator.is_main_process:
        state = trainer.accelerator.unwrap_model(trainer.model).state_dict()
        torch.save(state, out / f"{name}.pt")


def main(out: Path) -> None:
    ranks = join_ranks()
    train("plain", GRPOTrainer, GRPOConfig(output_dir=str(out), **SETTINGS), out)
    train(
        "ours", ResTTrainer, ResTConfig(output_dir=str(out), weighting="uniform", **SETTINGS), out
    )
    ranks.leave()


main(Path(sys.argv[1]))
