"""Rebuilds the embedded policy from scratch: tokenizer, weights, supervised warm start.

    python -m toolrest.world.build OUT

Four lessons: to repeat random tokens, from which a transformer learns to copy at all; to copy
values from a request into a call; the world's right answers; demonstrations of which a part is
wrong. The last makes the policy unsure and teaches it bad habits, which is what is left for
reinforcement learning to mend.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from toolrest.core.dialects import get_dialect
from toolrest.data.prompts import render_prompt, single_id
from toolrest.data.sample import Sample
from toolrest.world.demonstrations import demonstrate, demonstrate_with_errors
from toolrest.world.tasks import Split, Task, make_task
from toolrest.world.teaching import NOT_LEARNED, Labelled, Lesson, Write, teach
from toolrest.world.tokenizer import train_tokenizer

SEED = 20260923
ERROR_RATE = 0.5
COPYING_SHARE = 0.2
ECHO_TOKENS = 24

Row = tuple[list[int], list[int]]
"""Prompt ids and the ids of the answer to learn."""


def _echo(tokenizer: PreTrainedTokenizerFast, task: Task, rng: random.Random) -> Row:
    """Random tokens between others, then the same tokens again; the task does not matter."""
    before = rng.randrange(ECHO_TOKENS // 2)
    lengths = (before, ECHO_TOKENS, ECHO_TOKENS // 2 - before)
    first, repeated, last = ([rng.randrange(len(tokenizer)) for _ in range(n)] for n in lengths)
    return first + repeated + last + repeated[:1], repeated[1:]


def _row(tokenizer: PreTrainedTokenizerFast, sample: Sample, answer: str) -> Row:
    return render_prompt(sample, tokenizer), tokenizer(answer + "<|im_end|>")["input_ids"]


def _copy(tokenizer: PreTrainedTokenizerFast, task: Task, rng: random.Random) -> Row | None:
    if not task.calls:
        return None
    request = Sample(({"role": "user", "content": task.query},), "", "world", "")
    answer = get_dialect("rlla").render(thought=None, calls=task.calls, response=None)
    return _row(tokenizer, request, answer)


def _answer(tokenizer: PreTrainedTokenizerFast, task: Task, rng: random.Random) -> Row:
    """Now and then a request to copy from, so that copying is not forgotten."""
    copied = _copy(tokenizer, task, rng) if rng.random() < COPYING_SHARE else None
    return copied or _row(tokenizer, task.sample(""), demonstrate(task, rng))


def _waver(tokenizer: PreTrainedTokenizerFast, task: Task, rng: random.Random) -> Row:
    return _row(tokenizer, task.sample(""), demonstrate_with_errors(task, rng, ERROR_RATE))


def _by_task(write: Callable[[PreTrainedTokenizerFast, Task, random.Random], Row | None]) -> Write:
    """What writes the row of a task, for a lesson."""

    def labelled(
        tokenizer: PreTrainedTokenizerFast, seed: int, index: int, rng: random.Random
    ) -> Labelled | None:
        row = write(tokenizer, make_task(Split.TRAIN, seed, index), rng)
        return row and (row[0] + row[1], [NOT_LEARNED] * len(row[0]) + row[1])

    return labelled


LESSONS = (
    Lesson("repeating", 1400, 64, 2e-3, 1.0, _by_task(_echo)),
    Lesson("copying", 600, 32, 2e-3, 0.5, _by_task(_copy)),
    Lesson("right answers", 800, 32, 2e-3, 0.05, _by_task(_answer)),
    Lesson("wavering", 200, 32, 5e-4, 0.05, _by_task(_waver)),
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, trained on prompts and demonstrations of the training split."""
    rng = random.Random(SEED)

    def texts() -> Iterator[str]:
        for index in range(4000):
            task = make_task(Split.TRAIN, SEED, index)
            yield f"{task.system}\n{task.query}\n{demonstrate(task, rng)}\nassistant system user\n"

    return train_tokenizer(texts())


def build_model(
    tokenizer: PreTrainedTokenizerFast, hidden_size: int = 128, layers: int = 4
) -> Qwen3ForCausalLM:
    """A Qwen3, by default of about a million parameters, initialised with the fixed seed.

    Args:
        hidden_size: a multiple of 64; heads have 32 dimensions.
    """
    torch.manual_seed(SEED)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // 32,
        num_key_value_heads=hidden_size // 64,
        head_dim=32,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        eos_token_id=single_id(tokenizer.eos_token_id),
        pad_token_id=single_id(tokenizer.pad_token_id),
        bos_token_id=None,
        dtype="float32",
    )
    return Qwen3ForCausalLM(config)


def build(out: Path, report: Callable[[str], None] = print) -> None:
    """Build tokenizer and policy and save them in `out` (safetensors and JSON)."""
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    report(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    model.set_attn_implementation("eager")
    for number, lesson in enumerate(LESSONS):
        teach(model, tokenizer, lesson, seed=SEED + number, report=report)
    save(model, tokenizer, out, {"seed": SEED}, LESSONS)


def build_on(
    lessons: Sequence[Lesson],
    seed: int,
    attention: str,
    out: Path,
    report: Callable[[str], None] = print,
) -> None:
    """Go on from the embedded policy and save what it becomes in `out`, in bfloat16.

    Args:
        lessons: taught in turn, the first with the seed `seed`, the next with the one after it.
        attention: the implementation that lessons are taught with, such as `sdpa`.
        report: called with each line of progress.
    """
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    weights = load_file(Path(str(files("toolrest.world"))) / "policy" / "model.safetensors")
    model.load_state_dict(weights | {"lm_head.weight": weights["model.embed_tokens.weight"]})
    model.set_attn_implementation(attention)
    for number, lesson in enumerate(lessons):
        teach(model, tokenizer, lesson, seed=seed + number, report=report)
    record: dict[str, object] = {"seed": seed, "begins_with": "policy"}
    save(model.bfloat16(), tokenizer, out, record, lessons)


def save(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    record: dict[str, object],
    lessons: Sequence[Lesson],
) -> None:
    """Write a policy, and how it was built, into build.json: the record and the lessons."""
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    taught = [{"name": lesson.name, "steps": lesson.steps} for lesson in lessons]
    text = json.dumps(record | {"lessons": taught}, indent=2) + "\n"
    (out / "build.json").write_text(text, encoding="utf-8")


def main(build: Callable[[Path], None], description: str | None) -> None:
    """Build into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("out", type=Path, help="folder that receives tokenizer and weights")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main(build, __doc__)
