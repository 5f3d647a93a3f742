"""How long a run takes to have its rows, before the policy is loaded: first and second time.

    python benchmarks/startup.py --policy policies/SmolLM2-135M-Instruct [--rows 60000]

Generated xLAM rows with three tools and prompts of some hundred tokens. Each stage is what
`toolrest train` does: rows are read, worded and counted, or taken from the cache folder; those
that fit are chosen; hashes are taken; the data set is made, and one step's 128 rows of it. Each
time is a process of its own, with one new cache folder for both. Of each stage the seconds and the
processor's seconds (of all threads) are printed, and the greatest memory of the process. Last, the
table of a large vocabulary's bytes.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

from prepare import write_rows
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from toolrest.core.vocabulary import Vocabulary
from toolrest.data.prompts import render_prompt
from toolrest.engines.common.data import load_samples
from toolrest.engines.common.reading import read_rows, remembered_hash
from toolrest.engines.trl.rows import training_rows
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import Data, Recipe
from toolrest.runs.origins import origins, rows_hash

_STEP = 128
_TOKENS = 151_643
_ALONE = 500
"""Prompts that are rendered one by one for comparison."""


def measure(policy: str, path: str) -> None:
    """Print one start's seconds."""
    recipe = Recipe(policy=policy, dialect="hermes", data=Data(path=path))
    tokenizer = load_tokenizer(recipe)
    recipe, _ = fit_recipe(recipe, tokenizer)
    seconds: dict[str, list[float]] = {}
    last = [time.monotonic(), time.process_time()]

    def mark(name: str) -> None:
        now = [time.monotonic(), time.process_time()]
        seconds[name] = [round(b - a, 2) for a, b in zip(last, now, strict=True)]
        last[:] = now

    rows = read_rows(recipe, tokenizer)
    mark("read, worded and counted")
    samples = load_samples(recipe, tokenizer, rows)
    mark("chosen")
    hashed = remembered_hash(samples.key, lambda: rows_hash(chain(samples.train, samples.heldout)))
    mark("rows hashed")
    origins(recipe, tokenizer, hashed)
    mark("files hashed, weights included")
    data = training_rows(samples.train, tokenizer)
    data[list(range(_STEP))]
    mark("one step's rows")
    seconds["all"] = [round(sum(each), 2) for each in zip(*seconds.values(), strict=True)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for sample in samples.train[:_ALONE]:
        render_prompt(sample, tokenizer)
    mark("")
    alone = seconds.pop("")[1] / _ALONE * len(rows.lengths)
    found = {
        "rows": len(rows.lengths),
        "tokens a prompt": round(sum(map(int, rows.lengths)) / len(rows.lengths)),
        "tokens of the policy": len(tokenizer),
        "seconds, processor's seconds": seconds,
        "processor's seconds, prompts one by one": round(alone, 2),
        "memory, MiB": round(memory),
    }
    print(json.dumps(found))


def read_vocabulary() -> list[float]:
    """The seconds of a large tokenizer's table of bytes, the first and the second time."""
    drawn = random.Random(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {"".join(drawn.choices(alphabet, k=8)): index for index in range(_TOKENS)}
    backend = Tokenizer(models.BPE(tokens, []))
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    seconds = []
    for _ in range(2):
        before = time.process_time()
        Vocabulary.from_tokenizer(tokenizer)
        seconds.append(round(time.process_time() - before, 3))
    return seconds


def main() -> None:
    """Print the seconds of both starts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--policy", required=True)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--measured", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measured is not None:
        measure(options.policy, options.measured)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, options.rows)
        again = [sys.executable, __file__, "--policy", options.policy, "--measured", str(path)]
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        for name in ("first", "second"):
            done = subprocess.run(again, env=environment, check=True, stdout=subprocess.PIPE)
            print(json.dumps({name: json.loads(done.stdout)}, indent=2))
    name = f"processor's seconds, table of {_TOKENS:,} tokens, first and second time"
    print(json.dumps({name: read_vocabulary()}, indent=2))


if __name__ == "__main__":
    main()
