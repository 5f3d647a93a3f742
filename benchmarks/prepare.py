"""How fast `toolrest data prepare` is, and whether its memory stays flat.

    python benchmarks/prepare.py [--rows 1000000] [--repeats 3]

Generated xLAM rows stream from a JSONL file into a parquet. The other side is `datasets.map` (one
process, its cache switched off) calling the same functions on the same rows, and writing a parquet.
The two sides run in turn on a tenth of the rows; the whole file then goes through prepare alone,
with the greatest memory of its process at a tenth of the way and at the end.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path

from toolrest.data.decompose import Rendering, to_samples
from toolrest.data.formats import get_format
from toolrest.data.prepare import prepare
from toolrest.data.sources import Source

RENDERING = Rendering()


def write_rows(path: Path, count: int) -> None:
    """Rows in xLAM's layout, each another."""
    tools = json.dumps(
        [
            {
                "name": f"tool_{number}",
                "description": "Does something useful with a city and a number of nights.",
                "parameters": {
                    "city": {"type": "str", "description": "A city."},
                    "nights": {"type": "int, optional", "description": "How many."},
                },
            }
            for number in range(3)
        ]
    )
    with path.open("w") as file:
        for number in range(count):
            call = {"name": f"tool_{number % 3}", "arguments": {"city": f"c{number}", "nights": 2}}
            row = {
                "query": f"Please book hotel number {number} in the old town for two nights.",
                "tools": tools,
                "answers": json.dumps([call]),
            }
            file.write(json.dumps(row) + "\n")


def with_datasets(path: Path, output: Path) -> None:
    """The same by datasets.map."""
    import datasets

    datasets.disable_caching()
    datasets.disable_progress_bars()
    read = get_format("xlam").read

    def one(row: dict, index: int) -> dict:
        (sample,) = to_samples(read(row), RENDERING, path.name, str(index))
        return {
            "prompt": list(sample.prompt),
            "reward_model": {"ground_truth": sample.ground_truth, "style": "rule"},
        }

    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
        rows.map(one, with_indices=True, remove_columns=rows.column_names).to_parquet(output)


def main() -> None:
    """Time both sides, then let all rows through."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        small, large = folder / "small.jsonl", folder / "large.jsonl"
        tenth = arguments.rows // 10
        write_rows(small, tenth)
        ratios, rates = [], []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            prepare([Source(str(small))], RENDERING, folder / "a.parquet", seed=0)
            ours = time.perf_counter() - start
            start = time.perf_counter()
            with_datasets(small, folder / "b.parquet")
            ratios.append((time.perf_counter() - start) / ours)
            rates.append(tenth / ours)
        print(
            f"{tenth} rows: datasets.map takes {statistics.median(ratios):.2f} times as long "
            f"({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} pairs); "
            f"{statistics.median(rates):,.0f} rows/s"
        )
        write_rows(large, arguments.rows)
        seen = []

        def look(count: int) -> None:
            if count >= tenth and not seen:
                seen.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

        start = time.perf_counter()
        prepare([Source(str(large))], RENDERING, folder / "c.parquet", 0, look)
        end = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"{arguments.rows} rows in {time.perf_counter() - start:.0f} s; greatest memory at a "
            f"tenth {seen[0] / 1024:.0f} MiB, at the end {end / 1024:.0f} MiB"
        )


if __name__ == "__main__":
    main()
