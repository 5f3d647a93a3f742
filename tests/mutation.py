"""Writes small faults into the numeric core, one at a time, and sees whether a test notices.

    python tests/mutation.py --seed 1 --mutants 400

A fault (see tests/mutants.py) is written into the module in memory alone. Then those tests are run
that came by its line, the quickest first, until one fails: it is killed. An endless loop is killed
by the clock. A fault that no test notices has survived, and is printed with its place. At least
three faults are drawn of each module, the rest at random from all modules.

The processes are forked from one that has loaded torch, TRL and pytest, two at a time. docs/
reliability.md has the last result.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
TESTS_FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS_FOLDER.parent / "src"), str(TESTS_FOLDER)]

from forked_tests import ROOT, SOURCE, Clock, Finder, Watcher, in_turn, run_tests  # noqa: E402
from mutants import Mutant, mutants  # noqa: E402

MUTATED = (
    *("core/regions.py", "core/vocabulary.py", "core/credit.py"),
    *("core/weights/*.py", "core/rewards/*.py", "engines/common/reward.py"),
    *("engines/trl/trainer.py", "engines/trl/scoring.py"),
    *("engines/trl/sft.py", "engines/trl/guards.py"),
    *("engines/common/batch.py", "engines/common/potentials.py", "engines/verl/weights.py"),
)
"""What gets faults, below src/toolrest."""
TESTS = (
    *("core/test_*.py", "core/weights/test_*.py", "core/rewards/test_*.py", "test_*.py"),
    *("engines/test_*.py", "engines/common/test_*.py", "engines/trl/test_*.py"),
    *("engines/verl/test_weights*.py", "cli/test_inspect.py"),
)
"""What may notice them, below tests."""
LEFT_OUT = {
    *("test_processes.py", "test_torture.py", "test_redaction.py", "test_lora.py"),
    *("test_source.py", "test_starts.py", "test_loads.py", "test_architectures.py"),
    *("test_supervised.py", "test_trl_suite.py", "test_examples.py", "test_public_api.py"),
    *("test_guards.py", "test_launch.py", "test_labels_of_every_dialect.py"),
}
"""Tests that start processes, which have the code without its fault, that look at no number, or
that take long and look at what others look at too.
"""
LEAST = 3
"""Faults of each module, at least."""
MOST_SECONDS = 40.0
"""A fault is looked for by the quickest tests, so many seconds of processor time together."""
AT_FIRST = 10
"""So many of them are collected at first, since most faults are found by then."""
KILLED, SURVIVED, LATE, UNREACHED = "killed", "survived", "killed by the clock", "run by no test"


def load_everything() -> None:
    """What the tests import besides toolrest; no thread may be started by it."""
    for name in (
        *("torch", "numpy", "scipy.optimize", "datasets", "rich", "typer"),
        *("trl.trainer.grpo_trainer", "trl.trainer.sft_trainer", "pydantic", "yaml"),
        "transformers.models.qwen3.modeling_qwen3",
    ):
        importlib.import_module(name)


def watch(files: Sequence[Path], folder: Path) -> list[dict[str, Any]]:
    """Every test that passes: its name, its seconds, and the lines that it comes by."""
    chosen = sorted({path for kind in TESTS for path in (ROOT / "tests").glob(kind)})
    chosen = [path for path in chosen if path.name not in LEFT_OUT]
    outs = [folder / f"watched-{place}.json" for place in range(len(chosen))]

    def job(path: Path, out: Path) -> Callable[[], int]:
        def work() -> int:
            sys.meta_path.insert(0, Finder(files, None, None))
            watcher = Watcher(files)
            code = run_tests([str(path)], out.with_suffix(""), watcher, examples=25)
            out.write_text(json.dumps(watcher.found))
            return code

        return work

    def done(number: int, code: int) -> None:
        if code not in (0, 5):
            log = outs[number].with_suffix(".log").read_text()
            raise SystemExit(f"{chosen[number]} fails without any fault:\n{log[-3000:]}")

    jobs = zip(chosen, outs, strict=True)
    in_turn([(job(path, out), out.with_suffix(".log"), 1200) for path, out in jobs], done)
    return [row for out in outs for row in json.loads(out.read_text())]


def draw(files: Sequence[Path], count: int, seed: int) -> list[tuple[Path, Mutant]]:
    """So many faults: at least LEAST of every module that can have them, the rest from all."""
    rng = random.Random(seed)
    least, rest = [], []
    for file in files:
        mine = [(file, mutant) for mutant in mutants(file.read_text(encoding="utf-8"))]
        rng.shuffle(mine)
        least += mine[:LEAST]
        rest += mine[LEAST:]
    rng.shuffle(rest)
    chosen = [*least, *rest[: max(0, count - len(least))]]
    return sorted(chosen, key=lambda pair: (str(pair[0]), pair[1].number))


def tests_of(file: Path, mutant: Mutant, watched: Sequence[dict[str, Any]]) -> list[str]:
    """The tests that come by a fault, the quickest first."""
    name = str(file.relative_to(SOURCE))
    rows = []
    for row in sorted(watched, key=lambda row: row["seconds"]):
        lines = {line for module, line in row["lines"] if module == name}
        if lines and (mutant.reach is None or lines.intersection(mutant.reach)):
            rows.append(row)
    together = accumulate(row["seconds"] for row in rows)
    return [row["test"] for row, sum_ in zip(rows, together, strict=True) if sum_ < MOST_SECONDS]


def judge(
    chosen: Sequence[tuple[Path, Mutant]],
    files: Sequence[Path],
    watched: Sequence[dict[str, Any]],
    folder: Path,
) -> list[dict[str, Any]]:
    """What became of each fault."""
    seconds = {row["test"]: row["seconds"] for row in watched}
    results: list[dict[str, Any]] = []
    jobs = []
    for place, (file, mutant) in enumerate(chosen):
        tests = tests_of(file, mutant, watched)
        results.append(
            {
                "module": str(file.relative_to(SOURCE / "toolrest")),
                "line": mutant.line,
                "before": mutant.before,
                "after": mutant.after,
                "tests": len(tests),
                "end": UNREACHED,
            }
        )

        def work(
            file: Path = file, mutant: Mutant = mutant, tests: list[str] = tests, place: int = place
        ) -> int:
            sys.meta_path.insert(0, Finder(files, file, mutant.number))
            out = folder / f"{place}"
            clock = Clock(seconds, out.with_suffix(".failed"))
            some, others = tests[:AT_FIRST], tests[AT_FIRST:]
            return run_tests(["-x", *some], out, clock) or (
                run_tests(["-x", *others], out, clock) if others else 0
            )

        if tests:
            most = 300 + 20 * sum(seconds[test] for test in tests)
            jobs.append((place, (work, folder / f"{place}.log", most)))

    start = time.monotonic()

    def done(number: int, code: int) -> None:
        place = jobs[number][0]
        late = code in (-signal.SIGPROF, -signal.SIGKILL)
        results[place]["end"] = LATE if late else KILLED if code else SURVIVED
        failed = folder / f"{place}.failed"
        results[place]["by"] = failed.read_text() if failed.exists() else f"exit code {code}"
        shutil.rmtree(folder / f"{place}", ignore_errors=True)
        if results[place]["end"] == SURVIVED:
            print(told(results[place]), flush=True)
        if (number + 1) % 50 == 0:
            print(f"{number + 1} in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)

    in_turn([job for _, job in jobs], done)
    return results


def told(result: dict[str, Any]) -> str:
    """A fault in a line."""
    before, after = (text[:160] for text in (result["before"], result["after"]))
    return f"{result['module']}:{result['line']}: {before}  ->  {after}  ({result['tests']} tests)"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--mutants", type=int, default=400)
    words.add_argument("--only", default="", help="part of the path of the modules")
    words.add_argument("--out", type=Path, help="a JSON file for all results")
    asked = words.parse_args()
    base = SOURCE / "toolrest"
    files = sorted({path for kind in MUTATED for path in base.glob(kind)})
    folder = Path(tempfile.mkdtemp(prefix="mutation"))
    start = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        load_everything()
        watched = watch(files, folder)
        print(f"{len(watched)} tests in {time.monotonic() - start:.0f} s", file=sys.stderr)
        some = [file for file in files if asked.only in str(file.relative_to(base))]
        results = judge(draw(some, asked.mutants, asked.seed), files, watched, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if asked.out:
        asked.out.write_text(json.dumps(results, indent=1) + "\n")
    for result in results:
        if result["end"] == UNREACHED:
            print(told(result))
    ends = {module: Counter[str]() for module in sorted({r["module"] for r in results})}
    for result in results:
        ends[result["module"]][result["end"]] += 1
    for module, counts in ends.items():
        print(f"{module:28} {counts[KILLED] + counts[LATE]:4} of {sum(counts.values()):4}")
    all_ends = sum(ends.values(), Counter[str]())
    killed = all_ends[KILLED] + all_ends[LATE]
    print(
        f"seed {asked.seed}: {killed} of {len(results)} faults were noticed "
        f"({100 * killed / len(results):.1f} %), {all_ends[LATE]} of them by the clock, "
        f"{all_ends[UNREACHED]} are run by no test; {time.monotonic() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
