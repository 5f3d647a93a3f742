"""Trains, loads and saves policies that two processes hold in parts, by PyTorch's `fully_shard`."""

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import torch
from datasets import Dataset
from process_settings import SHORT
from torch import distributed
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor

from toolrest.engines.common.incidents import NonFiniteError
from toolrest.engines.common.ranks import join_ranks
from toolrest.engines.trl.parted import local_part
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.policy.folder import policy_path
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.world.tasks import Split, make_samples

SETTINGS = SHORT | {"max_completion_length": 6, "logging_steps": 1, "weighting": "uniform"}
CASES = {
    "clipped": {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2},
    "not clipped": {"max_grad_norm": 0.0},
    "stopped": {"max_grad_norm": float("inf"), "non_finite": "stop"},
    "a copy each": {"max_grad_norm": 0.0},
    "adapters": {"max_grad_norm": 0.0},
}
"""What is trained: the first three in parts; the first step has a NaN in the second process."""


class Spoiled(ResTTrainer):
    """Its first loss is NaN in the second process; it keeps the parameters after that step."""

    spoilt, first = 0, None

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        if self.accelerator.process_index == 1 and not self.spoilt:
            self.spoilt = 1
            return loss * float("nan")
        return loss

    def log(self, logs, start_time=None):
        if self.first is None:
            self.first = parts(self.model)
        super().log(logs, start_time)


def parts(model):
    return [local_part(each).detach().clone() for each in model.parameters()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def in_parts():
    from transformers import AutoModelForCausalLM
    from transformers.distributed import DistributedConfig

    shared = DistributedConfig(fsdp_size=2)
    return AutoModelForCausalLM.from_pretrained(
        policy_path(Recipe()), dtype=torch.float32, distributed_config=shared
    )


def adapters():
    from peft import LoraConfig

    return LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")


def trained(name, more, out):
    """What one case did, as plain values."""
    prompts = [{"prompt": list(sample.prompt)} for sample in make_samples(Split.TRAIN, 8)]
    whole = name in ("a copy each", "adapters")
    trainer = Spoiled(
        model=load_policy(Recipe()) if whole else in_parts(),
        processing_class=load_tokenizer(Recipe()),
        reward_funcs=lambda completions, **columns: [float(n) for n in range(len(completions))],
        train_dataset=Dataset.from_list(prompts),
        args=ResTConfig(output_dir=str(out / name), **({"non_finite": "skip"} | SETTINGS | more)),
        peft_config=adapters() if name == "adapters" else None,
    )
    start, raised = parts(trainer.model), False
    try:
        trainer.train()
    except NonFiniteError:
        raised = True
    end, first = parts(trainer.model), trainer.first
    found = {
        "parted": all(isinstance(each, DTensor) for each in trainer.model.parameters()),
        "raised": raised,
        "kept in the first step": same(start, end if first is None else first),
        "moved": not same(start, end),
        "finite": all(bool(each.isfinite().all()) for each in end),
        "left out": [line.get("guards/not_finite") for line in trainer.state.log_history][:2],
    }
    if name == "clipped":
        trainer.save_model(str(out / "saved"))
        full = whole_state(trainer.model)
        if trainer.accelerator.is_main_process:
            read = load_policy(Recipe(policy=str(out / "saved"))).state_dict()
            found["saved"] = all(torch.equal(read[name], full[name]) for name in full)
    return found


def whole_state(model):
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_model_state_dict(model, options=options)


def shared_by_accelerate(model):
    """The policy as accelerate shards it, which it does for GPUs alone."""
    from accelerate import FullyShardedDataParallelPlugin
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model

    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        cpu_ram_efficient_loading=True,
        reshard_after_forward=True,
    )
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin),
        mixed_precision="no",
        is_main_process=distributed.get_rank() == 0,
        device=torch.device("cpu"),
        torch_device_mesh=None,
    )
    return fsdp2_prepare_model(accelerator, model)


@contextmanager
def unwritten_is_nan():
    """In the `with` block memory that nothing has written holds NaN. Else it may hold what an
    earlier copy of the same weights left there, and look as if they were loaded.
    """
    assert torch.utils.deterministic.fill_uninitialized_memory  # its default
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def loading():
    """How the policy is loaded in parts and put together again."""
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    whole = load_policy(Recipe())
    with unwritten_is_nan():
        policy = load_policy(Recipe(), parted=True)
    found = {
        "whole": sum(each.numel() for each in whole.parameters() if not each.is_meta),
        "held": sum(int((~each.isnan()).sum()) for each in policy.parameters()),
        "addresses": len({each.data_ptr() for each in policy.parameters()}),
        "parameters": len(list(policy.parameters())),
        "name": policy.name_or_path,
    }
    model = shared_by_accelerate(policy)
    found["parted"] = all(isinstance(each, DTensor) for each in model.parameters())
    found["part"] = sum(each.to_local().numel() for each in model.parameters())
    full = whole_state(model)
    if distributed.get_rank() == 0:
        expected = whole.state_dict()
        found["equal"] = all(torch.equal(full[name], expected[name]) for name in full)
    forwards = [0]
    model.register_forward_pre_hook(lambda *_: forwards.append(1))
    prompt = torch.arange(5)[None] + 3
    longest = 3 + 4 * distributed.get_rank()  # the first process is done after 3 tokens
    sampled = model.generate(
        prompt, max_new_tokens=longest, min_new_tokens=longest, do_sample=False, pad_token_id=0
    )
    found["forwards"] = sum(forwards)
    found["sampled"] = sampled.shape[1] - 5
    alone = whole.generate(
        prompt,
        max_new_tokens=longest,
        min_new_tokens=longest,
        do_sample=False,
        pad_token_id=0,
        synced_gpus=False,
    )
    found["same tokens"] = torch.equal(sampled, alone)
    return found


def main(out):
    ranks = join_ranks()
    found = {name: trained(name, more, out) for name, more in CASES.items()}
    found["loading"] = loading()
    path = out / f"{distributed.get_rank()}.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    ranks.wait()
    ranks.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
