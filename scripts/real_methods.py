"""Methods on a real pretrained model: one warm start, then each method with several seeds from it.

    python scripts/real_methods.py --data FOLDER --methods grpo,rest --seeds 3

FOLDER has `rlla_sft.json` and `apibank/level-{1,2,3}-api_processed.json`. In turn: a quarter of
the rows is put aside, the same for every policy and seed; supervised learning by the recipe's warm
start; the gain of a step by region, of adapters on what it made; a comparison of the methods from
there; API-Bank's items for every policy, greedily. Everything goes into --out, what is done is
kept, and the same command goes on. At the end stands `table.md`: every method against the first
one, item by item. On a GPU: `--recipe recipes/qwen3-0.6b-rlla.yaml
--policy Qwen/Qwen3-0.6B --items 399`, and overrides such as `max_steps=100`. The methods llds and
trust need several updates a generation, as by `optimizer.mini_batch=1`.
The gain needs the extra `lora`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from toolrest.evaluate.intervals import bootstrap_mean, paired
from toolrest.io.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
SMOLLM2 = Path("policies/SmolLM2-135M-Instruct")
Right = dict[str, bool]
"""Whether each item was answered exactly, by its identity."""


def toolrest(*arguments: str, within: Path) -> None:
    """Run the command in a folder; where it fails, its own last line says why."""
    print(f"\n$ toolrest {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "toolrest", *arguments], cwd=within)
    if done.returncode:
        raise SystemExit(done.returncode)


def split(options: argparse.Namespace) -> list[str]:
    """Put a quarter of the rows aside, once; what a recipe is told of the two files.

    No policy is trained on a row that another one is evaluated on, whatever its seed.
    """
    folder = options.out / "rows"
    paths = [folder / "train.json", folder / "heldout.json"]
    if not all(path.is_file() for path in paths):
        rows = json.loads((options.data / "rlla_sft.json").read_text(encoding="utf-8"))
        order = np.random.default_rng(0).permutation(len(rows))
        folder.mkdir(exist_ok=True)
        for path, places in zip(paths, np.split(order, [3 * len(rows) // 4]), strict=True):
            write_whole(path, json.dumps([rows[place] for place in sorted(places)]))
    given = [f"data.path={paths[0]}", "data.heldout_fraction=0.0", f"evaluation.path={paths[1]}"]
    return [*given, f"evaluation.samples={options.samples}"]


def teach(options: argparse.Namespace, policy: str) -> Path:
    """The policy after the warm start."""
    run = options.out / "runs" / "sft"
    if not (run / "summary.json").is_file():
        given = [f"policy={policy}", "name=sft", "method=sft", "warm_start.method=none"]
        if (run / "recipe.yaml").is_file():
            toolrest("train", "--resume", str(run), within=options.out)
        else:
            words = [*given, *split(options), *options.overrides, *_taught(options)]
            toolrest("train", str(options.recipe), *words, within=options.out)
    return run / "warm_start"


def _taught(options: argparse.Namespace) -> list[str]:
    return [] if options.taught is None else [f"warm_start.steps={options.taught}"]


def compare(options: argparse.Namespace, taught: Path) -> dict[str, list[Path]]:
    """Every method's runs, seed by seed."""
    out = options.out / "comparison"
    given = [f"policy={taught}", *split(options), "evaluation.before=false"]
    given.append("warm_start.method=none")
    words = ["--methods", options.methods, "--seeds", str(options.seeds)]
    words += ["--jobs", str(options.jobs)]
    words += ["--out", str(out)]
    toolrest("compare", str(options.recipe), *given, *options.overrides, *words, within=options.out)
    names = options.methods.split(",")
    return {n: [out / "runs" / f"{n}-seed{k}" for k in range(options.seeds)] for n in names}


def gain(options: argparse.Namespace, taught: Path) -> None:
    """The gain of a step by region, of GRPO's and ResT's, by adapters on the taught policy."""
    out = options.out / "gain.json"
    if out.is_file() or not options.prompts:
        return
    given = [f"policy={taught}", *split(options), "warm_start.method=none"]
    words = ["lora.rank=8", "--methods", "rest", "--prompts", str(options.prompts)]
    words += ["--group", "4", "--output", str(out)]
    toolrest("gain", str(options.recipe), *given, *options.overrides, *words, within=options.out)


def held_out(run: Path, decoding: str) -> Right:
    """Of the held-out rows, after training."""
    lines = (run / "evaluation" / "after.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    return {r["identity"]: r["reward"]["exact"] for r in rows if r["decoding"] == decoding}


def apibank(options: argparse.Namespace, policy: Path, name: str) -> Right:
    """Of API-Bank's items."""
    out = options.out / "apibank" / name
    if not (out / "result.json").is_file():
        words = ["--data", str(options.data / "apibank"), "--limit", str(options.items)]
        words += ["--max-tokens", "192", "--batch-size", "32", "--out", str(out)]
        if not (policy / "summary.json").is_file():  # a policy's folder says nothing of its wording
            words += ["--dialect", "hermes", "--prompt", "plain", "--think"]
        toolrest("evaluate", str(policy), "--on", "apibank", *words, within=options.out)
    lines = (out / "scores.jsonl").read_text(encoding="utf-8").split("\n")
    return {r["identity"]: r["correct"] for r in map(json.loads, filter(None, lines))}


def table(columns: dict[str, dict[str, list[Right]]], baseline: str) -> str:
    """Every method's share of right answers, and its differences to the baseline's and to those of
    the policy that all begin from.

    Args:
        columns: by heading and method, each seed's answers; the first has one for all seeds.
    """
    lines = []
    for heading, methods in columns.items():
        start = next(iter(methods))
        items = len(methods[start][0])
        lines += [
            f"| {heading}, n = {items} | seeds | exact match, % | minus {baseline} | "
            f"McNemar's p, seed by seed | minus {start} |",
            "|---|---|---|---|---|---|",
        ]
        for name, seeds in methods.items():
            mean, (low, high) = _shares(seeds)
            cells = [name, str(len(seeds)), f"{mean:.1f} ({low:.1f} to {high:.1f})", "", "", ""]
            if name != baseline and len(seeds) == len(methods[baseline]):
                pairs = list(zip(seeds, methods[baseline], strict=True))
                cells[3] = _difference(pairs)
                tests = (paired(list(b.values()), [a[item] for item in b]).p for a, b in pairs)
                cells[4] = ", ".join(f"{p:.2f}" for p in tests)
            if name != start:
                cells[5] = _difference([(right, methods[start][0]) for right in seeds])
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines) + (
        "Mean over seeds; intervals by a bootstrap over items of their means over seeds, so they "
        "hold for these seeds.\n"
    )


def _difference(pairs: Sequence[tuple[Right, Right]]) -> str:
    """The first ones' share minus the second ones', in points, with its interval."""
    apart = [float(np.mean([a[item] - b[item] for a, b in pairs])) for item in pairs[0][0]]
    low, high = bootstrap_mean(apart)
    mean, low, high = (round(100 * each, 1) + 0.0 for each in (float(np.mean(apart)), low, high))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def _shares(seeds: Sequence[Right]) -> tuple[float, tuple[float, float]]:
    means = [float(np.mean([right[item] for right in seeds])) for item in seeds[0]]
    low, high = bootstrap_mean(means)
    return 100 * float(np.mean(means)), (100 * low, 100 * high)


def read(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("TOOLREST_DATA"))
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "smollm2-rlla.yaml")
    parser.add_argument("--policy", help="folder or name; SmolLM2-135M-Instruct if none")
    parser.add_argument(
        "--methods", default="grpo,rest", help="presets; the first one is compared with"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--taught", type=int, help="steps of the warm start; the recipe's if none")
    parser.add_argument(
        "--prompts", type=int, default=48, help="of the gain by region; 0: leave it out"
    )
    parser.add_argument("--items", type=int, default=199, help="of each level of API-Bank")
    parser.add_argument("--samples", type=int, default=100, help="held-out rows at most")
    parser.add_argument("--jobs", type=int, default=1, help="runs of the comparison at once")
    parser.add_argument("--out", type=Path, default=Path("real-methods"))
    parser.add_argument("overrides", nargs="*", help="of the recipe, KEY=VALUE")
    options = parser.parse_intermixed_args(words)
    if options.data is None or not (Path(options.data) / "rlla_sft.json").is_file():
        parser.error("--data FOLDER, with ResT's rlla_sft.json and apibank/ in it, is needed")
    options.data, options.out = Path(options.data).resolve(), options.out.resolve()
    options.recipe = options.recipe.resolve()
    return options


def main() -> None:
    options = read()
    options.out.mkdir(parents=True, exist_ok=True)
    policy = options.policy
    if policy is None:
        subprocess.run([sys.executable, str(ROOT / "scripts/smollm2.py"), str(SMOLLM2)], check=True)
        policy = str(SMOLLM2.resolve())
    taught = teach(options, policy)
    gain(options, taught)
    runs = compare(options, taught)
    run = taught.parent
    columns: dict[str, dict[str, list[Right]]] = {}
    for decoding in ("greedy", "sampled"):
        of_runs = {name: [held_out(r, decoding) for r in each] for name, each in runs.items()}
        columns[f"RLLA, {decoding}"] = {"after SFT": [held_out(run, decoding)]} | of_runs
    items = {name: [apibank(options, r, r.name) for r in each] for name, each in runs.items()}
    columns["API-Bank, greedy"] = {"after SFT": [apibank(options, taught, "sft")]} | items
    first = next(iter(runs))
    made = table(columns, first)
    write_whole(options.out / "table.md", made)
    print(f"\n{made}\n{options.out / 'table.md'}")


if __name__ == "__main__":
    main()
