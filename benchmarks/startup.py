"""How long a run takes to have its rows, before the policy is loaded.

    python benchmarks/startup.py --policy policies/SmolLM2-135M-Instruct [--rows 60000]

Generated xLAM rows with three tools and prompts of some hundred tokens. Each stage's seconds, and
the greatest memory of the process, are those of `toolrest train`: the file is read, samples are
made, prompts are rendered and counted, hashes are taken, and the engine's rows are made.
"""

import argparse
import itertools
import json
import resource
import tempfile
import time
from pathlib import Path

from prepare import write_rows

from toolrest.data.prompts import render_prompt
from toolrest.engines.common.data import load_samples, read_sources
from toolrest.engines.trl.launch import _rows
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import Data, Recipe
from toolrest.runs.origins import origins


def main() -> None:
    """Print the seconds of each stage."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--policy", required=True)
    parser.add_argument("--rows", type=int, default=60_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, options.rows)
        recipe = Recipe(policy=options.policy, dialect="hermes", data=Data(path=str(path)))
        tokenizer = load_tokenizer(recipe)
        recipe, _ = fit_recipe(recipe, tokenizer)
        marks = [("", time.monotonic())]

        def mark(name: str) -> None:
            marks.append((name, time.monotonic()))

        sources = read_sources(recipe)
        mark("read")
        samples = load_samples(recipe, tokenizer, sources)
        mark("rendered and counted")
        origins(recipe, tokenizer, (*samples.train, *samples.heldout))
        mark("hashed")
        rows = _rows(samples.train, tokenizer)
        mark("engine's rows")
        seconds = {
            name: round(now - before, 2) for (_, before), (name, now) in itertools.pairwise(marks)
        }
        some = samples.train[:: max(1, len(samples.train) // 1000)]
        before = time.monotonic()
        for sample in some:
            render_prompt(sample, tokenizer)
        alone = (time.monotonic() - before) / len(some) * len(sources[0])
        tokens = sum(len(row["prompt_ids"]) for row in rows) / len(rows)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found = {
            "rows": len(sources[0]),
            "tokens a prompt": round(tokens),
            "seconds": seconds | {"all": round(marks[-1][1] - marks[0][1], 2)},
            "seconds, rendered one by one, from 1,000": round(alone, 2),
            "memory, MiB": round(memory),
        }
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
