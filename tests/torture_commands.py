"""The kills of `toolrest evaluate`, `compare` and `data prepare`; see `torture.py`."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torture

ITEMS = 48
ROWS = 4000


@dataclass
class Work:
    """A command that is killed."""

    command: tuple[str, ...]
    words: Callable[[str], list[str]]
    """Of a name for what it makes."""
    outcome: Callable[[Path, str], dict[str, object]]
    """What it has made, but for times."""
    check: Callable[[Path, str], None] = lambda folder, name: None
    """What must hold at any moment, after a kill."""
    before: Callable[[Path, str], None] = lambda folder, name: None
    """Done before the first life."""


def answers_of(folder: Path, name: str) -> dict[str, object]:
    """Every file; the answers in any order, and of the environment, with its command, the name."""
    found: dict[str, object] = {}
    for path in sorted((folder / name).iterdir()):
        data = b"" if path.name == "environment.json" else path.read_bytes()
        found[path.name] = sorted(data.split(b"\n")) if path.name == "answers.jsonl" else data
    return found


def comparison_of(folder: Path, name: str) -> dict[str, object]:
    """Every file but logs; figures and tables, which have times in them, by their names."""
    root = folder / name
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        within = path.relative_to(root)
        if within.parts[0] in ("runs", "logs") or path.is_dir():
            continue
        data: object = None
        if path.name == "compare.json":
            data = torture.untimed(path)
        elif path.suffix == ".yaml":
            data = path.read_text(encoding="utf-8").replace(str(root), "ROOT")
        found[within.as_posix()] = data
    for run in sorted((root / "runs").iterdir()):
        found |= {f"{run.name}/{path}": of for path, of in torture.outcome(run).items()}
    return found


def rows_of(folder: Path, name: str) -> dict[str, object]:
    return {
        path.name.replace(name, "NAME"): path.read_bytes().replace(name.encode(), b"NAME")
        for path in sorted(folder.glob(f"{name}.parquet*"))
    }


def whole_rows(folder: Path, name: str) -> None:
    """The rows of before or of after, and a manifest only beside what it is of."""
    output, manifest = (folder / f"{name}.parquet{more}" for more in ("", ".manifest.json"))
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    if manifest.exists():
        assert json.loads(manifest.read_text(encoding="utf-8"))["sha256"] == digest, name


def earlier_rows(folder: Path, name: str) -> None:
    """Other rows of that name."""
    words = ["few.jsonl", "--output", f"{name}.parquet", "--quiet"]
    child = torture.start(folder, words, None, command=("data", "prepare"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, said(folder)


def write_rows(folder: Path) -> None:
    """Files of rows to prepare."""
    for file, count in (("few.jsonl", 5), ("many.jsonl", ROWS)):
        lines = []
        for number in range(count):
            tool = {"name": "look", "description": "", "parameters": {"at": {"type": "int"}}}
            row = {
                "query": f"Look at {number}.",
                "tools": json.dumps([tool]),
                "answers": json.dumps([{"name": "look", "arguments": {"at": number}}]),
            }
            lines.append(json.dumps(row) + "\n")
        (folder / file).write_text("".join(lines), encoding="utf-8")


class Forked:
    """A cell that is forked, not started anew, with what `Cells` asks of a process."""

    def __init__(self, command, out, threads):
        from toolrest.experiments.cells import die_with

        parent = os.getpid()
        self.returncode = None
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            os.setsid()
            die_with(parent)
            for stream in (1, 2):
                os.dup2(out.fileno(), stream)
            os.environ.update(threads)
            sys.argv = ["toolrest", *command[command.index("train") :]]
            from toolrest.cli.main import main

            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def poll(self):
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if done else None
        return self.returncode

    def wait(self, timeout):
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("cell", timeout)
            time.sleep(0.01)

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def fork_cells() -> None:
    """Have comparisons fork their cells in their own folder."""
    from toolrest.experiments.cells import Cells

    def opened(self, command, out, threads):
        before = Path.cwd()
        os.chdir(self.folder.path)
        try:
            return Forked(command, out, threads)
        finally:
            os.chdir(before)

    Cells._open = opened


SMALL = (
    *("max_steps=2", "save_steps=1", "rollout.prompts_per_step=2", "rollout.group_size=2"),
    *("rollout.max_response_tokens=16", "evaluation.samples=2"),
)
WORKS = {
    "evaluate": Work(
        ("evaluate",),
        lambda name: [
            *("embedded", "--on", "world", "--limit", str(ITEMS), "--batch-size", "4"),
            *("--out", name, "--quiet"),
        ],
        answers_of,
    ),
    "compare": Work(
        ("compare",),
        lambda name: [*SMALL, "--methods", "grpo,rest", "--seeds", "1", "--jobs=2", "--out", name],
        comparison_of,
    ),
    "prepare": Work(
        ("data", "prepare"),
        lambda name: ["many.jsonl", "--output", f"{name}.parquet", "--quiet"],
        rows_of,
        whole_rows,
        earlier_rows,
    ),
}


def said(folder: Path) -> str:
    return torture.log_of(folder).read_text(errors="replace")[-3000:]


def life(folder: Path, work: Work, name: str, until: float | None) -> bool:
    """One life; whether it was killed, by then at the latest."""
    child = torture.start(folder, work.words(name), None, command=work.command)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            assert code == 0, f"exit code {code}: {said(folder)}"
            return False
        if until is not None and time.monotonic() >= until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        time.sleep(0.0005)


def remove(folder: Path, name: str) -> None:
    for path in folder.glob(f"{name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def killed(folder: Path, work: Work, count: int, rng: random.Random) -> tuple[int, float]:
    """So many kills; (ends, seconds of an undisturbed one)."""
    work.before(folder, "straight")
    began = time.monotonic()
    life(folder, work, "straight", None)
    lasts = time.monotonic() - began
    expected = work.outcome(folder, "straight")
    done = ends = 0
    while done < count:
        name = f"killed{ends:04d}"
        work.before(folder, name)
        while done < count and life(folder, work, name, time.monotonic() + rng.uniform(0, lasts)):
            done += 1
            work.check(folder, name)
        life(folder, work, name, None)
        found = work.outcome(folder, name)
        torture.compare(
            {path.replace("straight", "NAME"): of for path, of in expected.items()},
            {path.replace(name, "NAME"): of for path, of in found.items()},
        )
        ends += 1
        remove(folder, name)
        print(f"{' '.join(work.command)}: {done} of {count}, the same", flush=True)
    return ends, lasts


def commands(folder: Path, wanted: dict[str, int | None], seed: int) -> str:
    """Kill each command as often as is asked for."""
    fork_cells()
    write_rows(folder)
    parts = []
    for name, count in wanted.items():
        if count:
            ends, lasts = killed(folder, WORKS[name], count, random.Random(seed))
            parts.append(f"{count} kills of {name} in {ends} ends of {lasts:.1f} s")
    return f"{', '.join(parts)}: every end was the undisturbed one's"
