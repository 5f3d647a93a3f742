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
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from itertools import accumulate
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
sys.path[:0] = [str(SOURCE), str(ROOT / "tests")]

import hypothesis  # noqa: E402
import pytest  # noqa: E402
from mutants import Mutant, mutants, mutated  # noqa: E402

MUTATED = (
    *("regions.py", "vocabulary.py", "advantages.py", "weights/*.py", "rewards/*.py"),
    *("engines/trl.py", "engines/trl_sft.py", "engines/trl_guards.py"),
    *("engines/batch.py", "engines/decided.py", "engines/verl_weights.py"),
)
"""What gets faults, below src/toolrest."""
TESTS = (
    *("test_*.py", "weights/test_*.py", "rewards/test_*.py", "guards/test_*.py"),
    *("engines/test_*.py", "engines/verl/test_weights.py", "cli/test_inspect.py"),
)
"""What may notice them, below tests."""
LEFT_OUT = {
    *("test_processes.py", "test_torture.py", "test_redaction.py", "test_lora.py"),
    *("test_source.py", "test_files.py", "test_runs.py", "test_recipe.py", "test_machine.py"),
}
"""Tests that start processes, which have the code without its fault, or look at no number."""
LEAST = 3
"""Faults of each module, at least."""
MOST_SECONDS = 120.0
"""A fault is looked for by the quickest tests, so many seconds together."""
JOBS = 2
MEMORY = 24 << 30
"""Bytes of address space of a process: a fault may ask for any number of them."""
KILLED, SURVIVED, LATE, UNREACHED = "killed", "survived", "killed by the clock", "run by no test"


class Loader(SourceFileLoader):
    """Loads a module from its syntax tree, which may have a fault."""

    def __init__(self, name: str, path: str, number: int | None) -> None:
        super().__init__(name, path)
        self.number = number

    def get_code(self, fullname: str) -> Any:
        source = Path(self.path).read_text(encoding="utf-8")
        return compile(mutated(source, self.number), self.path, "exec")


class Finder(MetaPathFinder):
    """Finds the modules that get faults; `faulty` has the one with this number."""

    def __init__(self, files: Sequence[Path], faulty: Path | None, number: int | None) -> None:
        self.files = {_module(file): file for file in files}
        self.faulty, self.number = faulty, number

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        file = self.files.get(fullname)
        if file is None:
            return None
        number = self.number if file == self.faulty else None
        package = [str(file.parent)] if file.name == "__init__.py" else None
        loader = Loader(fullname, str(file), number)
        return spec_from_file_location(
            fullname, file, loader=loader, submodule_search_locations=package
        )


def _module(file: Path) -> str:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class Watcher:
    """A pytest plug-in: which lines each test that passes comes by, and how long it takes.

    What a fixture comes by belongs to every test that asks for it.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.names = {str(file): str(file.relative_to(SOURCE)) for file in files}
        self.lines: set[tuple[str, int]] = set()
        self.of_fixture: dict[Any, set[tuple[str, int]]] = defaultdict(set)
        self.passed: set[str] = set()
        self.found: list[dict[str, Any]] = []

    def trace(self, frame: Any, event: str, argument: Any) -> Any:
        name = self.names.get(frame.f_code.co_filename)
        if name is None:
            return None

        def line(frame: Any, event: str, argument: Any) -> Any:
            self.lines.add((name, frame.f_lineno))
            return line

        return line(frame, event, argument)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        outside, self.lines = self.lines, self.of_fixture[fixturedef]
        yield
        self.lines = outside

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        self.lines = set()
        start = time.monotonic()
        sys.settrace(self.trace)
        yield
        sys.settrace(None)
        seconds = time.monotonic() - start
        for fixtures in item._fixtureinfo.name2fixturedefs.values():
            self.lines.update(*(self.of_fixture[fixture] for fixture in fixtures))
        if item.nodeid in self.passed:
            row = {"test": item.nodeid, "seconds": seconds, "lines": sorted(self.lines)}
            self.found.append(row)


class Clock:
    """A pytest plug-in: ends the process in a test that takes far longer than it did, and keeps
    the first test that fails.
    """

    def __init__(self, seconds: dict[str, float], out: Path) -> None:
        self.seconds, self.out = seconds, out

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        signal.alarm(round(20 + 10 * self.seconds.get(item.nodeid, 1.0)))
        yield
        signal.alarm(0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.out.exists():
            self.out.write_text(report.nodeid)


def load_everything() -> None:
    """What the tests import besides toolrest; no thread may be started by it."""
    for name in (
        *("torch", "numpy", "scipy.optimize", "datasets", "rich", "typer"),
        *("trl.trainer.grpo_trainer", "trl.trainer.sft_trainer", "pydantic", "yaml"),
        "transformers.models.qwen3.modeling_qwen3",
    ):
        importlib.import_module(name)


def fork(work: Callable[[], int], log: Path) -> int:
    """A process of its own that does the work; its number."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.chdir(ROOT)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        code = work()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def run_tests(words: Sequence[str], folder: Path, plugin: object) -> int:
    """pytest in this process, with nothing left behind outside the folder; its exit code.

    Examples that fail are not made smaller, which takes minutes.
    """
    hypothesis.settings.register_profile(
        "mutation",
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        print_blob=False,
    )
    folder.mkdir()
    options = (
        *("-q", "-p", "no:cacheprovider", f"--basetemp={folder / 't'}"),
        *("--hypothesis-seed=0", "--hypothesis-profile=mutation"),
    )
    return int(pytest.main([*options, *words], plugins=[plugin]))


def in_turn(
    jobs: Sequence[tuple[Callable[[], int], Path, float]], done: Callable[[int, int], None]
) -> None:
    """Do all jobs in processes of their own, JOBS at a time.

    Args:
        jobs: the work, the log and the seconds after which it is ended.
        done: told the number of a job and its exit code, below 0 for a signal.
    """
    waiting, running = list(enumerate(jobs))[::-1], dict[int, tuple[int, float]]()
    try:
        while waiting or running:
            while waiting and len(running) < JOBS:
                number, (work, log, seconds) = waiting.pop()
                running[fork(work, log)] = (number, time.monotonic() + seconds)
            child, status = os.waitpid(-1, os.WNOHANG)
            if child in running:
                number, _ = running.pop(child)
                done(number, os.waitstatus_to_exitcode(status))
                continue
            for child, (_, until) in running.items():
                if time.monotonic() > until:
                    os.killpg(child, signal.SIGKILL)
            time.sleep(0.02)
    finally:
        for child in running:
            os.killpg(child, signal.SIGKILL)


def watch(files: Sequence[Path], folder: Path) -> list[dict[str, Any]]:
    """Every test that passes: its name, its seconds, and the lines that it comes by."""
    chosen = sorted({path for kind in TESTS for path in (ROOT / "tests").glob(kind)})
    chosen = [path for path in chosen if path.name not in LEFT_OUT]
    outs = [folder / f"watched-{place}.json" for place in range(len(chosen))]

    def job(path: Path, out: Path) -> Callable[[], int]:
        def work() -> int:
            sys.meta_path.insert(0, Finder(files, None, None))
            watcher = Watcher(files)
            code = run_tests([str(path)], out.with_suffix(""), watcher)
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
            return run_tests(["-x", *tests], out, Clock(seconds, out.with_suffix(".failed")))

        if tests:
            most = 60 + 10 * sum(seconds[test] for test in tests)
            jobs.append((place, (work, folder / f"{place}.log", most)))

    start = time.monotonic()

    def done(number: int, code: int) -> None:
        place = jobs[number][0]
        late = code in (-signal.SIGALRM, -signal.SIGKILL)
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
