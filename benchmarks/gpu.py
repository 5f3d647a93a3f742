"""What ResT costs on a GPU, in one call of less than ten minutes.

    python benchmarks/gpu.py --out gpu.json
    python benchmarks/gpu.py --tiny

1. The time of a ResT step over a plain GRPO step of TRL, in pairs. Both train a Qwen3 with random
   weights; the responses are given, not sampled, so that both sides train on the same tokens and
   nothing but the training counts. With sampling the ratio is nearer to 1.
2. The greatest memory of both, one after the other.
3. Tokens a second of TRL's fused head, forward and backward, over the bound of its four matrix
   products of 2 N H V operations at the rate that this GPU multiplies matrices of that size.

Writes the figures as JSON and prints a line for each. `--tiny` checks the script on a CPU.
"""

import argparse
import gc
import json
import logging
import platform
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl.kernels import ChunkedLogProbFunction
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from weighting import response

from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import Recipe
from toolrest.world.tasks import Split, make_samples

VOCABULARY = 151_936
SIZES = {
    # layers, hidden, heads, intermediate: Qwen3-1.7B's and Qwen3-0.6B's
    "1.7b": (28, 2048, 16, 6144),
    "0.6b": (28, 1024, 16, 3072),
    "tiny": (2, 64, 2, 192),
}
GROUP = 4
WARMING = 4
"""Steps in which kernels are tuned and the allocator grows."""
KINDS: dict[str, tuple[type[GRPOTrainer], type[GRPOConfig]]] = {
    "GRPO": (GRPOTrainer, GRPOConfig),
    "ResT": (ResTTrainer, ResTConfig),
}


def make_model(size: str, vocabulary: int) -> Qwen3ForCausalLM:
    layers, hidden, heads, intermediate = SIZES[size]
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=min(8, heads),
        head_dim=128 if size != "tiny" else 32,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return Qwen3ForCausalLM(config)


def given_ids(tokenizer: Any, step: int, count: int, longest: int) -> list[list[int]]:
    """Token ids of the responses of a step."""
    rng = random.Random(step)
    texts = [response(rng) + tokenizer.eos_token for _ in range(count)]
    return [tokenizer(text)["input_ids"][:longest] for text in texts]


def given_responses(longest: int) -> Callable[[list[Any], Any], dict[str, Any]]:
    """A rollout function of TRL whose responses depend on the step alone."""

    def rollout(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        tokenizer = trainer.processing_class
        encoded = tokenizer.apply_chat_template(
            prompts, add_generation_prompt=True, tokenize=True, return_dict=True
        )
        ids = given_ids(tokenizer, trainer.state.global_step, len(prompts), longest)
        return {"prompt_ids": encoded["input_ids"], "completion_ids": ids, "logprobs": None}

    return rollout


def make_trainer(kind: str, options: argparse.Namespace) -> GRPOTrainer:
    trainer_class, config_class = KINDS[kind]
    gpu = torch.cuda.is_available()
    samples = make_samples(Split.TRAIN, 4096)
    dataset = Dataset.from_list(
        [{"prompt": list(s.prompt), "ground_truth": s.ground_truth} for s in samples]
    )
    trainer = trainer_class(
        model=make_model(options.size, options.vocabulary),
        processing_class=load_tokenizer(Recipe()),
        reward_funcs=[ToolReward()],
        train_dataset=dataset,
        rollout_func=given_responses(options.response),
        args=config_class(
            output_dir=tempfile.mkdtemp(),
            loss_type="grpo",
            per_device_train_batch_size=options.responses,
            num_generations=GROUP,
            max_completion_length=options.response,
            learning_rate=1e-6,
            max_steps=10_000,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not gpu,
            bf16=gpu,
        ),
    )
    trainer.create_optimizer_and_scheduler(10_000)
    # transformers up to 5.17, at least, has the older name only
    enable = getattr(trainer.model, "activation_checkpointing_enable", None)
    (enable or trainer.model.gradient_checkpointing_enable)({"use_reentrant": False})
    trainer.model.train()
    trainer.state.max_steps = 10_000
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def synchronised() -> float:
    """The time once the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def take_step(trainer: GRPOTrainer, batches) -> float:
    """Seconds of one training step with its optimiser."""
    batch = next(batches)
    started = synchronised()
    trainer.training_step(trainer.model, batch, None)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    trainer.state.global_step += 1
    return synchronised() - started


def compare_steps(options: argparse.Namespace, until: float) -> dict[str, Any]:
    """Paired steps of both trainers in turn, after some of each that are not counted."""
    trainers = [make_trainer(kind, options) for kind in KINDS]
    streams = [iter(trainer.get_train_dataloader()) for trainer in trainers]
    seconds: list[list[float]] = [[], []]
    for step in range(options.pairs + WARMING):
        if step > WARMING and time.monotonic() > until:
            break
        for index in (0, 1) if step % 2 else (1, 0):
            seconds[index].append(take_step(trainers[index], streams[index]))
    plain, rest = (times[WARMING:] for times in seconds)
    ratios = [r / p for p, r in zip(plain, rest, strict=True)]
    ids = given_ids(load_tokenizer(Recipe()), 0, 100, options.response)
    return {
        "responses": options.responses,
        "response_tokens": statistics.mean(map(len, ids)),
        "pairs": len(ratios),
        "ratio_median": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_greatest": max(ratios),
        "ratio_of_sums": sum(rest) / sum(plain),
        "grpo_seconds_median": statistics.median(plain),
        "seconds": dict(zip(KINDS, seconds, strict=True)),
    }


def peak_memory(kind: str, options: argparse.Namespace) -> int:
    """The greatest bytes that two steps of one trainer alone had allocated."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    trainer = make_trainer(kind, options)
    batches = iter(trainer.get_train_dataloader())
    for _ in range(2):
        take_step(trainer, batches)
    return torch.cuda.max_memory_allocated() - before


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        started = synchronised()
        work()
        times.append(synchronised() - started)
    return statistics.median(times)


def fused_head(options: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second of the fused head's forward and backward, and the bound."""
    gpu = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if gpu else ("cpu", torch.float32)
    tokens, hidden, vocabulary = options.tokens, SIZES[options.size][1], options.vocabulary
    tile = min(32_768, vocabulary)
    states = torch.randn(tokens, hidden, device=device, dtype=dtype, requires_grad=True)
    weight = (0.02 * torch.randn(vocabulary, hidden, device=device)).to(dtype).requires_grad_()
    targets = torch.randint(vocabulary, (tokens,), device=device)

    def loss() -> None:
        log_probs, *_ = ChunkedLogProbFunction.apply(
            states, weight, None, targets, 1.0, tile, None, 1.0, ("log_probs", "entropy")
        )
        log_probs.mean().backward()
        states.grad = weight.grad = None

    rows, columns = states.detach()[: min(tokens, 4096)], weight.detach()[:tile].t()
    product = median_seconds(lambda: torch.mm(rows, columns), options.repeats)
    rate = 2 * rows.shape[0] * hidden * tile / product
    seconds = median_seconds(loss, options.repeats)
    bound = rate / (4 * 2 * hidden * vocabulary)
    return {
        "tokens": tokens,
        "hidden": hidden,
        "vocabulary": vocabulary,
        "matrix_operations_per_second": rate,
        "tokens_per_second": tokens / seconds,
        "bound_tokens_per_second": bound,
        "share_of_bound": tokens / seconds / bound,
    }


def machine() -> dict[str, str]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"gpu": gpu, "python": platform.python_version(), "trl": trl.__version__, **versions}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    parser.add_argument("--size", choices=["1.7b", "0.6b"], default="1.7b")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=7.0, help="no pair is begun after these")
    parser.add_argument("--tiny", action="store_true", help="a check of the script itself")
    options = parser.parse_args()
    options.responses, options.response, options.tokens, options.repeats = 16, 1024, 16_384, 10
    options.vocabulary = VOCABULARY
    if options.tiny:
        options.size, options.pairs, options.vocabulary = "tiny", 2, 4096
        options.responses, options.response, options.tokens, options.repeats = 8, 64, 256, 2
    elif not torch.cuda.is_available():
        parser.error("there is no GPU; --tiny checks the script without one")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # of what TRL and transformers call deprecated or new
    until = time.monotonic() + 60 * options.minutes
    found: dict[str, Any] = {"machine": machine(), "size": options.size}
    head = found["fused_head"] = fused_head(options)
    print(
        f"fused head: {head['tokens_per_second']:,.0f} tokens/s, {head['share_of_bound']:.2f} of "
        f"{head['bound_tokens_per_second']:,.0f} (4 products at "
        f"{head['matrix_operations_per_second'] / 1e12:.1f}e12 operations/s)",
        flush=True,
    )
    if torch.cuda.is_available():
        memory = found["peak_bytes"] = {kind: peak_memory(kind, options) for kind in KINDS}
        print(
            f"peak memory: GRPO {memory['GRPO'] / 1e9:.2f} GB, ResT {memory['ResT'] / 1e9:.2f} GB, "
            f"ratio {memory['ResT'] / memory['GRPO']:.4f}",
            flush=True,
        )
        gc.collect()
        torch.cuda.empty_cache()
    steps = found["step"] = compare_steps(options, until)
    print(
        f"ResT step over GRPO step, {steps['pairs']} pairs of {options.responses} responses of "
        f"{steps['response_tokens']:.0f} tokens: "
        f"median {steps['ratio_median']:.3f} ({steps['ratio_least']:.3f} to "
        f"{steps['ratio_greatest']:.3f}); in sum {steps['ratio_of_sums']:.3f}; a GRPO step takes "
        f"{steps['grpo_seconds_median']:.2f} s"
    )
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
