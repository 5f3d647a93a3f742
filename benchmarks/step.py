"""What the weights cost: a ResT step against a plain GRPO step of the same engine.

    python benchmarks/step.py

Both trainers run on the embedded policy with the same data, batch and seed, one in this process
after the other, window by window in turn; a ResT step has one forward more, for the entropies of
the rollouts. The rollouts of both are the same tokens for the first step only, so times are
compared over many steps. The ratio of each pair of steps is reported with its median, least and
greatest, and so is the ratio of the time in the sum of all steps.
"""

import argparse
import logging
import statistics
import tempfile
import time

import torch
from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.world.tasks import Split, make_samples

RESPONSES = 128


def make_trainer(kind: type[GRPOTrainer], config: type[GRPOConfig], steps: int) -> GRPOTrainer:
    samples = make_samples(Split.TRAIN, 1024)
    dataset = Dataset.from_list(
        [{"prompt": list(s.prompt), "ground_truth": s.ground_truth} for s in samples]
    )
    return kind(
        model=load_policy(Recipe()),
        processing_class=load_tokenizer(Recipe()),
        reward_funcs=[ToolReward()],
        train_dataset=dataset,
        args=config(
            output_dir=tempfile.mkdtemp(),
            loss_type="grpo",
            per_device_train_batch_size=RESPONSES,
            num_generations=8,
            max_completion_length=192,
            learning_rate=1e-7,  # both policies stay the same, and so do response lengths
            max_steps=steps,
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
        ),
    )


def take_steps(trainer: GRPOTrainer, batches, count: int) -> list[float]:
    """Seconds of each of `count` training steps, generation and rewards included."""
    seconds = []
    for _ in range(count):
        batch = next(batches)
        started = time.perf_counter()
        trainer.training_step(trainer.model, batch, None)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        trainer.state.global_step += 1
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=16)
    steps = parser.parse_args().steps
    logging.getLogger("transformers").setLevel(logging.ERROR)
    trainers = [
        make_trainer(GRPOTrainer, GRPOConfig, steps + 1),
        make_trainer(ResTTrainer, ResTConfig, steps + 1),
    ]
    streams = []
    for trainer in trainers:
        trainer.create_optimizer_and_scheduler(steps + 1)
        trainer.model.train()
        trainer.state.max_steps = steps + 1
        trainer.current_gradient_accumulation_steps = 1
        streams.append(iter(trainer.get_train_dataloader()))
    seconds: list[list[float]] = [[], []]
    for step in range(steps + 1):
        for index in (0, 1) if step % 2 else (1, 0):
            torch.manual_seed(step)  # the same sampling, hence the same rollouts
            seconds[index] += take_steps(trainers[index], streams[index], 1)
    plain, rest = (times[1:] for times in seconds)  # the first step measures entropies
    ratios = [r / p for p, r in zip(plain, rest, strict=True)]
    print(
        f"ResT step over GRPO step, {len(ratios)} pairs of {RESPONSES} responses: median "
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); "
        f"in sum {sum(rest) / sum(plain):.3f}; a GRPO step takes "
        f"{statistics.median(plain):.2f} s"
    )


if __name__ == "__main__":
    main()
