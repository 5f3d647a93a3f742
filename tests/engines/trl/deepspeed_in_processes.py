"""Trains a policy by DeepSpeed in two processes on a CPU, which accelerate does for GPUs alone."""

import json
import os
import sys
from pathlib import Path

import deepspeed
from accelerate import PartialState
from accelerate.utils import DistributedType
from datasets import Dataset
from parted_in_processes import SETTINGS, parts, same
from torch import distributed

from toolrest.engines.common.incidents import NonFiniteError
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.world.tasks import Split, make_samples


class Spoiled(ResTTrainer):
    """Its second loss is NaN in the second process; the parameters before that are kept."""

    losses, before = 0, None

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        self.losses += 1
        if self.losses < 2:
            return loss
        self.before = parts(self.model)
        return loss * float("nan") if self.accelerator.process_index == 1 else loss


def share_on_a_cpu():
    """Let accelerate's state be that of processes that DeepSpeed shares the policy among."""
    PartialState._shared_state.clear()
    PartialState(cpu=True)
    deepspeed.init_distributed("gloo")
    PartialState._shared_state["distributed_type"] = DistributedType.DEEPSPEED


def main(out, stage):
    os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": stage}
    args = ResTConfig(output_dir=str(out), **(SETTINGS | {"use_cpu": False, "max_steps": 3}))
    share_on_a_cpu()
    whole = load_policy(Recipe())
    policy = load_policy(Recipe(), parted=stage == "3")
    found = {
        "every": sum(each.numel() for each in whole.parameters()),
        "whole": sum(each.numel() for each in load_policy(Recipe()).parameters()),
        "held": sum(each.numel() for each in policy.parameters()),
    }
    with deepspeed.zero.GatheredParameters(list(policy.parameters())):
        found["equal"] = same(list(whole.parameters()), list(policy.parameters()))
    prompts = [{"prompt": list(sample.prompt)} for sample in make_samples(Split.TRAIN, 8)]
    trainer = Spoiled(
        model=policy,
        processing_class=load_tokenizer(Recipe()),
        reward_funcs=lambda completions, **columns: [float(n) for n in range(len(completions))],
        train_dataset=Dataset.from_list(prompts),
        args=args,
    )
    start, found["raised"] = parts(trainer.model), False
    try:
        trainer.train()
    except NonFiniteError:
        found["raised"] = True
    engine, end = trainer.accelerator.deepspeed_engine_wrapped.engine, parts(trainer.model)
    found |= {
        "optimizer": type(engine.optimizer).__name__,
        "steps": engine.global_steps,
        "finite": all(bool(each.isfinite().all()) for each in end),
        "kept": same(trainer.before, end),
        "moved": not same(start, end),
    }
    path = out / f"{distributed.get_rank()}.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
