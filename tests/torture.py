"""Kills a training run again and again, and compares its end with that of an undisturbed one.

    python tests/torture.py --kills 200
    python tests/torture.py --starts 20
    python tests/torture.py --disk          (as root, on Linux: mounts a small tmpfs)
    python tests/torture.py --evaluate 100
    python tests/torture.py --compare 100
    python tests/torture.py --prepare 100

Half of the kills (kill -9) come at a random moment of the run, half while a checkpoint is written.
After each the run is resumed; once it has ended, its parameters, optimiser, metrics, rollouts,
evaluations and its list of files must be those of the undisturbed run, bit for bit. In a third of
the lives the clock jumps back a day on the way.

--starts begins two runs of one name instead, at the same moment or one a little later: one must end
as the undisturbed run, with all of its files, and the other must be told in one line. Every fifth
pair is of two fresh interpreters that start two training processes each.

--disk fills the disk instead: the run is stopped by it, told so in one line, and resumed after some
room was made; and it is made read-only in the middle.

--evaluate, --compare and --prepare kill those commands at as many random moments; after each the
same command is given again, and what it leaves at its end must be what an undisturbed one leaves.

The processes are forked from one that has loaded everything, so a life costs seconds. docs/
reliability.md has the last result.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

SIZE = (
    "max_steps=6",
    "save_steps=2",
    "rollout.prompts_per_step=2",
    "rollout.group_size=4",
    "rollout.max_response_tokens=32",
    "evaluation.samples=2",
    "evaluation.every=2",
    "warm_start.method=sft",
    "warm_start.steps=1",
    "warm_start.batch_size=2",
)
TIMED = ("seconds", "step_time", "train_runtime")
"""Metrics that are the clock's."""
DAY = 86_400.0


def load_everything() -> None:
    """What a training process imports; no thread may be started by it."""
    import datasets  # noqa: F401
    import torch  # noqa: F401
    import trl.trainer.sft_trainer  # noqa: F401
    from transformers.models.qwen3 import modeling_qwen3  # noqa: F401

    import toolrest.engines.trl.launch
    import toolrest.engines.trl.warm_start
    import toolrest.evaluate.heldout
    import toolrest.report.page_of_runs.write
    import toolrest.training  # noqa: F401


def jump_back(after: float) -> None:
    """From `after` seconds on, the clock is a day behind."""
    real = time.time
    start = real()
    time.time = lambda: real() - (DAY if real() - start > after else 0.0)


def start(
    folder: Path,
    words: list[str],
    jump: float | None,
    log: Path | None = None,
    gate: int | None = None,
    command: tuple[str, ...] = ("train",),
) -> int:
    """`toolrest train`, or another command, in a process of its own; its number.

    Args:
        jump: seconds after which the clock jumps back.
        log: what it prints; the folder's log if None.
        gate: a descriptor; it begins once there is a byte to read.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.chdir(folder)
        opened = os.open(log or log_of(folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, 1)
        os.dup2(opened, 2)
        if gate is not None:
            os.read(gate, 1)
        if jump is not None:
            jump_back(jump)
        sys.argv = ["toolrest", *command, *words]
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


def log_of(folder: Path) -> Path:
    """Beside the folder, which may be a disk without room."""
    return folder.with_name(folder.name + ".log")


def words_of(run: Path) -> list[str]:
    """How the run is begun, or gone on with."""
    if (run / "recipe.yaml").is_file():
        return ["--resume", f"runs/{run.name}", "--quiet"]
    return [*SIZE, f"name={run.name}", "--quiet"]


def one_life(folder: Path, run: Path, jump: float | None = None) -> int:
    """Let the run go on to its end; its exit code."""
    _, status = os.waitpid(start(folder, words_of(run), jump), 0)
    return os.waitstatus_to_exitcode(status)


def killed_life(folder: Path, run: Path, lasts: float, saves: float, rng: random.Random) -> bool:
    """One life that is killed, unless it ends before; whether it was killed."""
    jump = rng.uniform(0, lasts) if rng.random() < 1 / 3 else None
    child = start(folder, words_of(run), jump)
    saving = rng.random() < 0.5
    moment = time.monotonic() + rng.uniform(0, lasts)
    known = set(run.glob("checkpoints/checkpoint-*"))
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            assert code == 0, f"exit code {code}: {log_of(folder).read_text()[-3000:]}"
            return False
        if saving and set(run.glob("checkpoints/checkpoint-*")) - known:
            time.sleep(rng.uniform(0, saves))
            break
        if not saving and time.monotonic() >= moment:
            break
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def outcome(run: Path) -> dict[str, object]:
    """All that must not depend on what happened meanwhile."""
    import torch

    found: dict[str, object] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        found[name] = None
        if path.is_dir() or path.name in ("environment.json", "training_args.bin", "report.html"):
            continue
        if path.name in ("optimizer.pt", "scheduler.pt"):
            found[name] = digest(torch.load(path, weights_only=True))
        elif path.name == "rng_state.pth":
            found[name] = digest(torch.load(path, weights_only=False))
        elif path.name in (
            *("metrics.jsonl", "warm_start.jsonl"),
            *("summary.json", "trainer_state.json"),
        ):
            found[name] = untimed(path)
        elif path.name in ("recipe.yaml", "README.md"):
            found[name] = path.read_text().replace(run.name, "NAME")
        elif path.name == "toolrest_state.json":
            state = json.loads(path.read_text())
            found[name] = {key: value for key, value in state.items() if key != "files"}
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def untimed(path: Path) -> object:
    def strip(value: object) -> object:
        if isinstance(value, dict):
            return {key: strip(v) for key, v in value.items() if key not in TIMED}
        return [strip(v) for v in value] if isinstance(value, list) else value

    if path.suffix == ".jsonl":
        return [strip(json.loads(line)) for line in path.read_text().splitlines()]
    return strip(json.loads(path.read_text()))


def digest(value: object) -> object:
    """Tensors and arrays as their bytes."""
    if hasattr(value, "numpy"):
        value = value.numpy()
    if hasattr(value, "tobytes"):
        return hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, dict):
        return {key: digest(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [digest(v) for v in value]
    return value


def compare(one: dict[str, object], other: dict[str, object]) -> None:
    """Raise AssertionError with the files that differ."""
    different = sorted(
        name for name in one.keys() | other.keys() if one.get(name, 0) != other.get(name, 0)
    )
    assert not different, f"not as in the undisturbed run: {different}"


def undisturbed(folder: Path) -> tuple[dict[str, object], float, float]:
    """Its outcome, how long it lasts and how long a save lasts, in seconds."""
    run = folder / "runs" / "straight"
    began = time.monotonic()
    code = one_life(folder, run)
    assert code == 0, log_of(folder).read_text()[-3000:]
    lasts = time.monotonic() - began
    last = run / "checkpoints" / "checkpoint-6"
    times = [path.stat().st_mtime for path in last.iterdir()]
    return outcome(run), lasts, max(times) - min(times) + 0.01


def kills(folder: Path, count: int, seed: int) -> str:
    rng = random.Random(seed)
    expected, lasts, saves = undisturbed(folder)
    done = runs = 0
    while done < count:
        run = folder / "runs" / f"killed{runs}"
        times = 0
        while killed_life(folder, run, lasts, saves, rng):
            times += 1
            done += 1
            if done >= count:
                assert one_life(folder, run) == 0, log_of(folder).read_text()[-3000:]
                break
        compare(expected, outcome(run))
        runs += 1
        print(f"{run.name}: {times} kills, the same; {done} of {count}", flush=True)
        shutil.rmtree(run)
    return f"{done} kills in {runs} runs of {lasts:.1f} s: every end was the undisturbed run's"


def starts(folder: Path, count: int, seed: int) -> str:
    """Two who begin a run of one name, again and again."""
    rng = random.Random(seed)
    expected, lasts, _ = undisturbed(folder)
    later = 0
    for pair in range(count):
        run = folder / "runs" / f"pair{pair}"
        # Together, nearly so, or at any moment of the first one's life.
        delay = rng.uniform(0, (0.0, 0.05, lasts)[pair % 3])
        several = pair % 5 == 4
        logs = [folder / f"pair{pair}-{who}.log" for who in range(2)]
        words = [*SIZE, f"name={run.name}", "--quiet"]
        if several:
            codes = fresh_pair(folder, [*words, "engine.processes=2"], logs, delay)
        else:
            codes = forked_pair(folder, words, logs, delay)
        said = [log.read_text() for log in logs]
        assert sorted(codes) == [0, 2], (codes, said)
        loser = codes.index(2)
        assert len(said[loser].splitlines()) == 1, said[loser]
        assert said[loser].startswith("toolrest: "), said[loser]
        assert "choose another name" in said[loser], said[loser]
        assert "Traceback" not in said[1 - loser], said[1 - loser]
        found = outcome(run)
        if several:  # other numbers, to rounding: the files are the same
            for name in ("worker.lock", *(f"{at}.pth" for at in ("rng_state_0", "rng_state_1"))):
                found = {path: text for path, text in found.items() if not path.endswith(name)}
            alike = {path for path in expected if not path.endswith("rng_state.pth")}
            assert found.keys() == alike, found.keys() ^ alike
            assert len((run / "metrics.jsonl").read_text().splitlines()) == 6
        else:
            compare(expected, found)
        later += loser == 0
        print(f"{run.name}: {delay:.3f} s apart, {said[loser].strip()}", flush=True)
        shutil.rmtree(run)
    return f"{count} pairs of starts: one trained to its end each time ({later} times the later)"


def forked_pair(folder: Path, words: list[str], logs: list[Path], delay: float) -> list[int]:
    """Exit codes of two that have loaded everything, the second `delay` seconds later."""
    ends = []
    for log in logs:
        reader, writer = os.pipe()
        ends.append((start(folder, words, None, log, reader), reader, writer))
    for child, _, writer in ends:
        if child != ends[0][0]:
            time.sleep(delay)
        os.write(writer, b"0")
    codes = []
    for child, reader, writer in ends:
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os.close(reader)
        os.close(writer)
    return codes


def fresh_pair(folder: Path, words: list[str], logs: list[Path], delay: float) -> list[int]:
    """Exit codes of two fresh interpreters, the second `delay` seconds later."""
    processes = []
    for log in logs:
        command = [sys.executable, "-m", "toolrest", "train", *words]
        with log.open("w") as out:
            processes.append(subprocess.Popen(command, cwd=folder, stdout=out, stderr=out))
        time.sleep(0.0 if len(processes) == 2 else delay)
    return [process.wait() for process in processes]


def mount(folder: Path, *options: str) -> None:
    subprocess.run(
        ["mount", "-o", ",".join(options), "-t", "tmpfs", "tmpfs", str(folder)], check=True
    )


def full_disks(folder: Path, mebibytes: int) -> str:
    """A disk that is full again and again, then one that is made read-only."""
    expected, lasts, _ = undisturbed(folder)
    small = folder / "small"
    small.mkdir()
    mount(small, f"size={mebibytes}m")
    stops = 0
    try:
        run = small / "runs" / "full"
        while True:
            before = log_of(small).stat().st_size if log_of(small).exists() else 0
            code = one_life(small, run)
            if code == 0:
                break
            said = log_of(small).read_text()[before:]
            assert code == 2 and "the disk is full" in said, (code, said)
            assert "Traceback" not in said, said
            stops += 1
            mebibytes += 2
            mount(small, "remount", f"size={mebibytes}m")
        compare(expected, outcome(run))
        run = small / "runs" / "locked"
        mount(small, "remount", f"size={2 * mebibytes}m")
        child = start(small, words_of(run), None)
        time.sleep(lasts / 2)
        # Files that are open for writing keep a file system from being made read-only.
        for _ in range(100):
            again = ["mount", "-o", "remount,ro", str(small)]
            if subprocess.run(again, capture_output=True).returncode == 0:
                break
            time.sleep(0.01)
        _, status = os.waitpid(child, 0)
        locked = os.waitstatus_to_exitcode(status)
        mount(small, "remount", "rw")
        if locked == 0:
            raise AssertionError("the file system could not be made read-only in time")
        assert locked == 2, (locked, log_of(small).read_text()[-3000:])
        assert one_life(small, run) == 0
        compare(expected, outcome(run))
    finally:
        subprocess.run(["umount", str(small)], check=True)
    return f"{stops} stops by a full disk and one by a read-only one: both ends were the same"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starts", type=int, help="pairs of starts of one name")
    parser.add_argument("--disk", action="store_true")
    for name in ("evaluate", "compare", "prepare"):
        parser.add_argument(f"--{name}", type=int, help="kills of that command")
    parser.add_argument("--mebibytes", type=int, default=8, help="the small disk's first size")
    options = parser.parse_args()
    load_everything()
    with tempfile.TemporaryDirectory() as scratch:
        name = Path(scratch) / "work"
        name.mkdir()
        began = time.monotonic()
        killed = {n: getattr(options, n) for n in ("evaluate", "compare", "prepare")}
        if any(killed.values()):
            from torture_commands import commands

            said = commands(name, killed, options.seed)
        elif options.disk:
            said = full_disks(name, options.mebibytes)
        elif options.starts is not None:
            said = starts(name, options.starts, options.seed)
        else:
            said = kills(name, options.kills, options.seed)
        print(f"{said} ({time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    main()
