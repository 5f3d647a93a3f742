"""Tokens of prompts and of demonstrations: what docs/scaling.md takes for the mean.

    python benchmarks/lengths.py FILE --tiktoken qwen.tiktoken

FILE has any of the formats of docs/data.md. A prompt is counted as Qwen's chat template writes it.
"""

import argparse
import statistics
from pathlib import Path

from weighting import read_tokenizer

from toolrest.core.dialects import get_dialect
from toolrest.data.decompose import Rendering
from toolrest.data.sources import Source, iterate_samples


def show(name: str, lengths: list[int]) -> None:
    print(
        f"{name}: {len(lengths)} of {statistics.mean(lengths):.1f} tokens on average "
        f"(median {statistics.median(lengths):.0f}, greatest {max(lengths)})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--tiktoken", type=Path, required=True)
    arguments = parser.parse_args()
    tokenizer = read_tokenizer(arguments.tiktoken)
    marks = ["<|im_start|>", "<|im_end|>", *sorted(get_dialect("rlla").special_tokens)]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    prompts, answers = [], []
    for sample in iterate_samples(Source(str(arguments.file)), Rendering(), seed=0):
        turns = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in sample.prompt]
        text = "".join(turns) + "<|im_start|>assistant\n"
        prompts.append(len(tokenizer(text)["input_ids"]))
        if sample.demonstration:
            answers.append(len(tokenizer(sample.demonstration + "<|im_end|>")["input_ids"]))
    show("prompts", prompts)
    if answers:
        show("demonstrations", answers)


if __name__ == "__main__":
    main()
