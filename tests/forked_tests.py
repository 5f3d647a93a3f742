"""Tests in forked processes, of modules that have a fault in memory alone; see mutation.py."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from mutants import mutated

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
JOBS = 2
MEMORY = 24 << 30
"""Bytes of address space of a process: a fault may ask for any number of them."""


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
    """A pytest plug-in: which lines each test that passes comes by, and its processor time.

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
        start = time.process_time()
        for kind in (sys, threading):
            kind.settrace(self.trace)
        yield
        for kind in (sys, threading):
            kind.settrace(None)
        seconds = time.process_time() - start
        for fixtures in item._fixtureinfo.name2fixturedefs.values():
            self.lines.update(*(self.of_fixture[fixture] for fixture in fixtures))
        if item.nodeid in self.passed:
            row = {"test": item.nodeid, "seconds": seconds, "lines": sorted(self.lines)}
            self.found.append(row)


class Clock:
    """A pytest plug-in: ends the process in a test that takes far more processor time than it did,
    and keeps the first test that fails.
    """

    def __init__(self, seconds: dict[str, float], out: Path) -> None:
        self.seconds, self.out = seconds, out

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        signal.setitimer(signal.ITIMER_PROF, 10 + 5 * self.seconds[item.nodeid])
        yield
        signal.setitimer(signal.ITIMER_PROF, 0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.out.exists():
            self.out.write_text(report.nodeid)


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


def run_tests(words: Sequence[str], folder: Path, plugin: object, examples: int = 100) -> int:
    """pytest in this process, with nothing left behind outside the folder; its exit code.

    Hypothesis draws `examples` for each of its tests and makes none smaller, which takes minutes.
    """
    hypothesis.settings.register_profile(
        "mutation",
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        print_blob=False,
    )
    folder.mkdir(exist_ok=True)
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
