"""The comparison of docs/experiments.md with a larger policy, in one call on one GPU.

    python benchmarks/gpu_evidence.py OUT --data FOLDER

A Qwen3 of about 25 M parameters is trained from nothing on the embedded world's tasks and on the
RLLA rows of FOLDER/rlla_sft.json, then reinforced by each method and seed on the world's tasks.
Prints held-out exact match of the world, and of API-Bank where FOLDER/apibank has its files. Made
to fit ten minutes; `--minutes` is when no further run is begun. Without --data: the world alone.

It has run on a CPU at the size of --tiny only; no figures of a GPU are published yet.
"""

import argparse
import json
import random
import time
from dataclasses import replace
from pathlib import Path

import torch

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.data.decompose import Rendering
from toolrest.data.sample import Sample
from toolrest.data.sources import Source, iterate_samples
from toolrest.evaluate.heldout import evaluate_heldout
from toolrest.experiments.methods import apply_method, read_methods
from toolrest.experiments.statistics import mean_interval, sign_flip_test
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe, load_recipe
from toolrest.runs.folder import RunFolder
from toolrest.training import run_training
from toolrest.world.build import LESSONS, SEED, Lesson, build_model, build_tokenizer, teach

METHODS = "grpo,rest,spans"
SEEDS = 4


class Quiet:
    """A view of a run that shows nothing."""

    def stage(self, text: str, total: int | None = None) -> None: ...
    def advance(self, done: int) -> None: ...
    def step(self, step: int, metrics: dict) -> None: ...
    def note(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...


def rlla_lesson(samples: list[Sample], steps: int, tokenizer) -> Lesson:
    """Rows of RLLA that fit 3,072 tokens, whatever the task is that the world offers."""
    rows = []
    for sample in samples:
        text = [m["content"] for m in sample.prompt]
        prompt = tokenizer("\n".join(text))["input_ids"]
        answer = tokenizer(sample.demonstration + "<|im_end|>")["input_ids"]
        if len(prompt) + len(answer) <= 3072:
            rows.append((prompt, answer))
    return Lesson("RLLA", steps, 16, 5e-4, 0.1, lambda _, task, rng: rng.choice(rows))


def build(out: Path, data: Path | None, tiny: bool, device: str) -> None:
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, *((128, 2) if tiny else (512, 8))).to(device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    lessons = [replace(lesson, learning_rate=lesson.learning_rate / 2) for lesson in LESSONS]
    if data is not None:
        rows = list(iterate_samples(Source(str(data / "rlla_sft.json")), Rendering(), seed=0))
        lessons.insert(3, rlla_lesson(rows, 300, tokenizer))
    for number, lesson in enumerate(lessons):
        lesson = replace(lesson, steps=2) if tiny else lesson
        teach(model, tokenizer, lesson, seed=SEED + number, report=lambda text: print(text))
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def apibank(folder: Path, count: int) -> list[Sample]:
    """Rows of API-Bank as samples in the RLLA dialect."""
    samples = []
    for level in (1, 2, 3):
        for row in json.loads((folder / f"level-{level}-api_processed.json").read_text()):
            answer = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
            calls = tuple(ToolCall(call["name"], call["parameters"]) for call in answer)
            truth = get_dialect("rlla").render(thought="", calls=calls, response=None)
            messages = [{"role": r, "content": row[r]} for r in ("system", "user")]
            samples.append(Sample(tuple(messages), truth, f"apibank-{level}", str(len(samples))))
    return random.Random(0).sample(samples, min(count, len(samples)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--tiny", action="store_true", help="a check of the script itself")
    options = parser.parse_args()
    started = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = options.out / "policy"
    if not (policy / "config.json").is_file():
        build(policy, options.data, options.tiny, device)
    print(f"policy after {time.monotonic() - started:.0f} s", flush=True)
    size = (
        ["max_steps=2", "rollout.prompts_per_step=2", "rollout.max_response_tokens=24"]
        if options.tiny
        else ["max_steps=20", "rollout.prompts_per_step=32"]
    )
    more = [f"policy={policy}", f"evaluation.samples={4 if options.tiny else 256}", "save_steps=99"]
    shared = load_recipe(None, [*size, *more])
    found: dict[str, dict[int, dict]] = {}
    for seed in range(SEEDS):
        for method in read_methods(METHODS):
            if time.monotonic() - started < 60 * options.minutes:
                recipe = apply_method(shared, method).model_copy(update={"seed": seed})
                name = f"{method.name}-seed{seed}"
                found.setdefault(method.name, {})[seed] = one_run(recipe, options, name)
                print(name, found[method.name][seed], flush=True)
    for key in ("world", "apibank"):
        for name, runs in found.items():
            seeds = [seed for seed in runs if key in runs[seed] and seed in found["grpo"]]
            if not seeds:
                continue
            mean = mean_interval([runs[seed][key] for seed in seeds])
            deltas = [runs[seed][key] - found["grpo"][seed][key] for seed in seeds]
            print(f"{key:8s} {name:8s} {mean}  p {sign_flip_test(deltas):.3f}, {len(seeds)} seeds")


def one_run(recipe: Recipe, options: argparse.Namespace, name: str) -> dict[str, float]:
    """Exact match after training, sampled, of the world and of API-Bank."""
    run = RunFolder(options.out / "runs" / name)
    if not run.summary.is_file():
        run.path.mkdir(parents=True, exist_ok=True)
        run_training(recipe, run, Quiet(), resume=run.last_checkpoint() is not None)
    found = {"world": json.loads(run.summary.read_text())["after"]["exact_match"]}
    if options.data is not None and (options.data / "apibank").is_dir():
        samples = apibank(options.data / "apibank", 4 if options.tiny else 150)
        last = run.last_checkpoint()
        result, _ = evaluate_heldout(
            load_policy(recipe, last), load_tokenizer(recipe), samples, recipe, lambda done: None
        )
        found["apibank"] = result.exact_match
    return found


if __name__ == "__main__":
    main()
