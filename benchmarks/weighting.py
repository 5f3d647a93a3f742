"""Token weighting: regions and weights from sampled ids, against ways that tokenise again.

    python benchmarks/weighting.py

512 responses of about 300 tokens, a byte-level BPE of 32k tokens. Each row is timed in turn with
toolrest's, in pairs, and the ratio of a pair is reported with its median, least and greatest.

- once a span: the obvious algorithm. Decode, find the spans by regular expressions, and for each
  span tokenise the text with offsets and look the span's tokens up.
- one offsets call: decode, tokenise the whole batch once with offsets, map spans by bisection.
- batch_decode: the tokenizer's own decoding of the ids, as a yardstick.
"""

import argparse
import bisect
import json
import random
import re
import statistics
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pairs import pairs
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from toolrest.core.dialects import get_dialect
from toolrest.core.regions import Region, label_tokens
from toolrest.core.vocabulary import Vocabulary
from toolrest.core.weights import TokenBatch, get_scheme

RESPONSES = 512
TOKENS = 300
VOCABULARY = 32_000
WORDS = [
    "".join(random.Random(index).choices("aeioulnrstdmkpbg", k=random.Random(index).randint(2, 9)))
    for index in range(40_000)
]


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(WORDS[int(rng.paretovariate(0.35)) % len(WORDS)] for _ in range(words))


def response(rng: random.Random) -> str:
    """A thought of some 240 tokens, then one to three calls."""
    calls = [
        json.dumps(
            {
                "name": sentence(rng, 2).title().replace(" ", ""),
                "parameters": {
                    sentence(rng, 1): sentence(rng, 3) for _ in range(rng.randint(1, 3))
                },
            }
        )
        for _ in range(rng.randint(1, 3))
    ]
    thought = sentence(rng, rng.randint(170, 210))
    return "\n".join([f"<think> {thought} </think>", "<tool_call>", *calls, "</tool_call>"])


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = random.Random(0)
    tokenizer.train_from_iterator((response(rng) for _ in range(12000)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def read_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    from transformers.convert_slow_tokenizer import TikTokenConverter

    tokenizer = TikTokenConverter(vocab_file=str(path)).converted()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


_TAGS = {"think": Region.REASONING, "response": Region.RESPONSE}
_NAME = re.compile(r'"name"\s*:\s*"([^"]+)"')
_PARAMETERS = re.compile(r'"parameters"\s*:\s*')


def spans(text: str) -> list[tuple[int, int, Region]]:
    """Spans of tags, thought, response, names and parameters, by regular expressions."""
    found = []
    for tag in ("think", "tool_call", "response"):
        for block in re.finditer(f"<{tag}>(.*?)</{tag}>", text, flags=re.S):
            found.append((block.start(), block.start(1), Region.FORMAT))
            found.append((block.end(1), block.end(), Region.FORMAT))
            if tag in _TAGS:
                found.append((block.start(1), block.end(1), _TAGS[tag]))
                continue
            base = block.start(1)
            for name in _NAME.finditer(block[1]):
                found.append((base + name.start(1), base + name.end(1), Region.NAME))
            for head in _PARAMETERS.finditer(block[1]):
                end = json.JSONDecoder().raw_decode(block[1], head.end())[1]
                found.append((base + head.end(), base + end, Region.PARAMETERS))
    return found


def once_a_span(tokenizer, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    labels = torch.zeros_like(ids)
    for row, text in enumerate(
        tokenizer.batch_decode([r[m] for r, m in zip(ids, mask, strict=True)])
    ):
        for start, end, region in spans(text):
            offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
            first = next(i for i, (a, b) in enumerate(offsets) if b > start)
            last = next((i for i, (a, b) in enumerate(offsets) if b >= end), len(offsets) - 1)
            labels[row, first : last + 1] = int(region)
    return labels


def one_offsets_call(tokenizer, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    labels = torch.zeros_like(ids)
    texts = tokenizer.batch_decode([r[m] for r, m in zip(ids, mask, strict=True)])
    encoded = tokenizer(texts, return_offsets_mapping=True)["offset_mapping"]
    for row, (text, offsets) in enumerate(zip(texts, encoded, strict=True)):
        ends = [end for _, end in offsets]
        for start, end, region in spans(text):
            first = bisect.bisect_right(ends, start)
            last = bisect.bisect_left(ends, end)
            labels[row, first : last + 1] = int(region)
    return labels


def linear(tokenizer, vocabulary: Vocabulary) -> None:
    """The time of one response of growing length."""
    rng = random.Random(2)
    long: list[int] = []
    while len(long) < 65536:
        long += tokenizer(response(rng) + "\n")["input_ids"]
    dialect = get_dialect("rlla")
    for length in (1024, 4096, 16384, 65536):
        ids = torch.tensor([long[:length]])
        mask = torch.ones_like(ids, dtype=torch.bool)
        work = partial(label_tokens, ids, mask, vocabulary, dialect)
        seconds, _ = pairs(work, work, 9)
        print(f"one response of {length:6d} tokens: {seconds / length * 1e9:6.0f} ns a token")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--tiktoken", type=Path, help="a tiktoken file, such as Qwen's, in place of a trained BPE"
    )
    arguments = parser.parse_args()
    repeats = arguments.repeats
    tokenizer = read_tokenizer(arguments.tiktoken) if arguments.tiktoken else make_tokenizer()
    rng = random.Random(1)
    rows = [tokenizer(response(rng) + "<|end|>")["input_ids"] for _ in range(RESPONSES)]
    width = max(map(len, rows))
    ids = torch.zeros(RESPONSES, width, dtype=torch.long)
    mask = torch.zeros(RESPONSES, width, dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = True
    vocabulary, dialect = Vocabulary.from_tokenizer(tokenizer), get_dialect("rlla")
    scheme = get_scheme("official")

    def ours() -> torch.Tensor:
        regions = label_tokens(ids, mask, vocabulary, dialect, scaffolding=scheme.scaffolding)
        return scheme(TokenBatch(regions, mask, 0.5))

    def weigh(labels: torch.Tensor) -> torch.Tensor:
        return scheme(TokenBatch(labels, mask, 0.5))

    others = {
        "once a span": lambda: weigh(once_a_span(tokenizer, ids, mask)),
        "one offsets call": lambda: weigh(one_offsets_call(tokenizer, ids, mask)),
        "batch_decode": lambda: tokenizer.batch_decode(ids),
    }
    mean = np.mean([len(row) for row in rows])
    print(
        f"{RESPONSES} responses, {mean:.0f} tokens on average, {len(tokenizer)} in the vocabulary"
    )
    ours()
    for name, other in others.items():
        seconds, ratios = pairs(ours, other, repeats if name != "once a span" else 3)
        print(
            f"toolrest {seconds * 1000:6.1f} ms ({RESPONSES / seconds:,.0f} responses/s); "
            f"{name} takes {statistics.median(ratios):.1f} times as long "
            f"({min(ratios):.1f} to {max(ratios):.1f}, {len(ratios)} pairs)"
        )
    linear(tokenizer, vocabulary)


if __name__ == "__main__":
    main()
