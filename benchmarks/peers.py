"""Training with TRL's own trainer and with ours, side by side: seconds and memory.

    python benchmarks/peers.py                                        # the embedded task
    python benchmarks/peers.py --policy FOLDER --prompts 756          # a checkpoint, made-up tokens
    python benchmarks/peers.py --policy 0.6b --prompts 200 756 2000 --group 4 8 16 --micro 32768

Arms: `trl` is a plain `GRPOTrainer`; `off` a `ResTTrainer` with `prefix_sharing=off`, `on` with
`prefix_sharing=on`. An update is all that follows on given tokens: forward, backward and optimiser,
in micro-batches of at most `--micro` padded tokens. A whole step samples, too: `trl` by `generate`,
ours by the sampler of shared prefixes. Arms run in turn, in one process, on the same tokens; the
ratio of each pair to `trl` is reported with its median, least and greatest. Seconds are the
processor's on a CPU, of one thread unless `--threads` says else, so that other work on the machine
counts little. Memory is the peak of a process that runs one arm's update alone, less what it holds
before; on a GPU, of its allocator. `0.6b` and `1.7b` are Qwen3's shapes, weights random. Several
lengths of prompts and sizes of groups are measured one after the other.
"""

import argparse
import gc
import itertools
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from gpu import SIZES, VOCABULARY, make_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from toolrest.engines.trl.rollout import shared_prefix_rollout
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import EMBEDDED, Recipe

ARMS = ("trl", "off", "on")


def reward(completions, **columns):
    """Something that differs within a group."""
    return [float(len(str(each)) % 7) for each in completions]


def make_trainer(arm, options, device):
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    if options.policy == EMBEDDED:
        model, tokenizer = load_policy(Recipe()), load_tokenizer(Recipe())
    elif options.policy in SIZES:
        model = make_model(options.policy, VOCABULARY).to(dtype)
        tokenizer = load_tokenizer(Recipe())
    else:
        model = AutoModelForCausalLM.from_pretrained(options.policy, dtype=dtype).to(device)
        tokenizer = AutoTokenizer.from_pretrained(options.policy)
    rows = options.groups * options.group
    longest = options.prompts + options.responses
    micro = max(1, min(rows, options.micro // longest))
    while rows % micro:
        micro -= 1
    plain = arm == "trl"
    ours = {} if plain else {"weighting": "rest", "dialect": "hermes", "prefix_sharing": arm}
    split = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": rows // micro}
    if arm == "on":
        split = {"per_device_train_batch_size": rows, "micro_tokens": options.micro}
    generator = torch.Generator().manual_seed(1)
    prompts = [
        tokenizer.decode(torch.randint(300, 1500, (options.prompts,), generator=generator))
        for _ in range(options.groups * 8)
    ]
    return (GRPOTrainer if plain else ResTTrainer)(
        model=model,
        processing_class=tokenizer,
        reward_funcs=[reward],
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        rollout_func=None if plain or device == "cuda" else shared_prefix_rollout,
        args=(GRPOConfig if plain else ResTConfig)(
            output_dir=tempfile.mkdtemp(),
            loss_type="grpo",
            num_generations=options.group,
            max_completion_length=options.responses,
            learning_rate=1e-7,
            max_steps=1000,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=device == "cpu",
            bf16=device == "cuda",
            gradient_checkpointing=False,
            **ours,
            **split,
        ),
    )


def given_tokens(options, device, seed=0):
    """A generation's batch: prompts of one length, responses of half to the whole limit."""
    generator = torch.Generator().manual_seed(seed)
    rows, width = options.groups * options.group, options.responses
    prompts = torch.randint(300, 1500, (options.groups, options.prompts), generator=generator)
    lengths = torch.randint(width // 2, width + 1, (rows,), generator=generator)
    lengths[0] = width
    mask = (torch.arange(width) < lengths[:, None]).long()
    batch = {
        "prompt_ids": prompts.repeat_interleave(options.group, 0),
        "prompt_mask": torch.ones(rows, options.prompts, dtype=torch.long),
        "completion_ids": torch.randint(300, 1500, (rows, width), generator=generator) * mask,
        "completion_mask": mask,
        "advantages": torch.randn(rows, generator=generator),
        "regions": torch.full((rows, width), 4),
    }
    order = torch.randperm(rows, generator=generator)  # as TRL shuffles a generation
    batch = {name: value[order].to(device) for name, value in batch.items()}
    batch["num_items_in_batch"] = mask.sum().to(device)
    return batch


def ready(trainer):
    trainer.create_optimizer_and_scheduler(1000)
    trainer.model.train()
    trainer.state.max_steps = 1000
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    return trainer


def update(trainer, batch):
    """Forward, backward and optimiser on given tokens; seconds."""
    started = now()
    rows, accumulated = len(batch["prompt_ids"]), trainer.args.gradient_accumulation_steps
    size = rows // accumulated
    for part in range(accumulated):
        inputs = {
            name: value[part * size : (part + 1) * size] if value.dim() else value
            for name, value in batch.items()
        }
        loss = trainer.compute_loss(trainer.model, inputs)
        trainer.accelerator.backward(loss)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    if hasattr(trainer, "_forwards"):
        trainer._forwards.restore()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return now() - started


def whole_step(trainer, stream):
    """An optimiser step with its sampling and rewards; seconds."""
    started = now()
    for _ in range(trainer.args.gradient_accumulation_steps):
        trainer.training_step(trainer.model, next(stream), None)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    trainer.state.global_step += 1
    return now() - started


def now():
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def peak_of(work):
    """Bytes that some work holds at most beyond what is held before (Linux)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    work()
    return resident("VmHWM") - before


def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def memory(arm, options):
    """Bytes of an arm's update; on a CPU in a process of its own."""
    if torch.cuda.is_available():
        batch = given_tokens(options, "cuda")
        trainer = ready(make_trainer(arm, options, "cuda"))
        update(trainer, batch)
        return peak_of(lambda: update(trainer, batch))
    command = [sys.executable, __file__, "--memory-of", arm]
    for name in ("policy", "prompts", "responses", "group", "groups", "micro"):
        command += [f"--{name}", str(getattr(options, name))]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(found.stdout.splitlines()[-1])


def compare(what, times):
    plain = times["trl"]
    for arm in list(times)[1:]:
        ratios = [ours / theirs for ours, theirs in zip(times[arm], plain, strict=True)]
        print(
            f"{what}, {arm} over trl: median {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f}); trl takes {statistics.median(plain):.2f} s",
            flush=True,
        )


def side_by_side(options):
    """All that is measured of one length of prompts and one size of groups."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = given_tokens(options, device)
    if options.memory_of:
        trainer = ready(make_trainer(options.memory_of, options, device))
        print(json.dumps(peak_of(lambda: update(trainer, batch))))
        return
    print(f"{options.groups} groups of {options.group}, {options.prompts} + {options.responses}")
    arms = ["trl", *options.arms]
    if options.memory:
        peaks = {arm: memory(arm, options) for arm in arms}
        for arm in options.arms:
            print(
                f"memory of the update, {arm} over trl: {peaks[arm] / peaks['trl']:.2f} "
                f"(trl: {peaks['trl'] / 1e9:.2f} GB)",
                flush=True,
            )
    trainers = {arm: ready(make_trainer(arm, options, device)) for arm in arms}
    times = {arm: [] for arm in arms}
    for pair in range(options.pairs + 1 if options.pairs else 0):
        for arm in arms if pair % 2 else reversed(arms):
            times[arm].append(update(trainers[arm], given_tokens(options, device, pair)))
    if options.pairs:
        compare("update", {arm: each[1:] for arm, each in times.items()})  # the first warms up
    streams = {arm: iter(trainer.get_train_dataloader()) for arm, trainer in trainers.items()}
    times = {arm: [] for arm in arms}
    for step in range(options.steps):
        for arm in arms if step % 2 else reversed(arms):
            torch.manual_seed(step)
            times[arm].append(whole_step(trainers[arm], streams[arm]))
    if options.steps:
        compare("whole step", times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default=EMBEDDED)
    parser.add_argument("--prompts", type=int, nargs="+", default=[106], help="tokens of a prompt")
    parser.add_argument("--responses", type=int, default=96, help="tokens of a response, at most")
    parser.add_argument("--group", type=int, nargs="+", default=[8])
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--micro", type=int, default=4096, help="tokens of a forward")
    parser.add_argument("--pairs", type=int, default=5, help="updates; 0: none")
    parser.add_argument("--steps", type=int, default=3, help="whole steps; 0: updates alone")
    parser.add_argument("--arms", nargs="+", choices=ARMS[1:], default=ARMS[1:])
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-of", choices=ARMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(options.threads)
    for prompts, group in itertools.product(options.prompts, options.group):
        side_by_side(argparse.Namespace(**vars(options) | {"prompts": prompts, "group": group}))
        gc.collect()


if __name__ == "__main__":
    main()
