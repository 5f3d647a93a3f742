"""A real pretrained model from end to end: SmolLM2-135M-Instruct, warm start, ResT, evaluation.

    python scripts/real.py --data FOLDER      # or: make real DATA=FOLDER

FOLDER has `rlla_sft.json` and `apibank/level-{1,2,3}-api_processed.json`. Everything goes into
`runs/` and `evaluations/`; what is done is kept, and the same command goes on. At the end stand the
base, the policy after supervised learning and the one after ResT, with intervals, as in
`runs/smollm2-rlla/table.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolrest.evaluate.intervals import paired, wilson
from toolrest.io.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "smollm2-rlla.yaml"
RUN = Path("runs/smollm2-rlla")
BASE = Path("policies/SmolLM2-135M-Instruct")
STAGES = {"base": "before", "after SFT": "warm_start", "after ResT": "after"}
"""Evaluations of the run, by what the table calls them."""


def toolrest(*arguments: str) -> None:
    """Run the command; where it fails, its own last line says why."""
    print(f"\n$ toolrest {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "toolrest", *arguments])
    if done.returncode:
        raise SystemExit(done.returncode)


def train(rows: Path) -> None:
    if (RUN / "summary.json").is_file():
        print(f"{RUN}: done already")
    elif (RUN / "recipe.yaml").is_file():
        toolrest("train", "--resume", str(RUN))
    else:
        given = (f"policy={BASE.resolve()}", f"data.path={rows.resolve()}", f"name={RUN.name}")
        toolrest("train", str(RECIPE), *given)


def on_apibank(policy: str, out: Path, data: Path, items: int, *more: str) -> list[dict[str, Any]]:
    """Every item's score."""
    asked = ("--limit", str(items), "--max-tokens", "192", "--batch-size", "32", "--out", str(out))
    toolrest("evaluate", policy, "--on", "apibank", "--data", str(data), *asked, *more)
    return [json.loads(line) for line in (out / "scores.jsonl").read_text().split("\n") if line]


def held_out(stage: str, decoding: str) -> dict[str, bool]:
    """Whether each held-out row was answered exactly."""
    lines = (RUN / "evaluation" / f"{stage}.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    return {r["identity"]: r["reward"]["exact"] for r in rows if r["decoding"] == decoding}


def line(name: str, columns: Sequence[Sequence[bool]]) -> str:
    cells = []
    for right in columns:
        low, high = wilson(sum(right), len(right))
        cells.append(f"{sum(right) / len(right):.1%} ({low:.1%} to {high:.1%})")
    return f"| {name} | {' | '.join(cells)} |"


def table(apibank: dict[str, list[dict[str, Any]]]) -> str:
    found = {
        name: [
            held_out(stage, "greedy"),
            held_out(stage, "sampled"),
            {row["identity"]: row["correct"] for row in apibank[name]},
        ]
        for name, stage in STAGES.items()
    }
    counts = [len(column) for column in found["base"]]
    head = ("RLLA, greedy", "RLLA, sampled", "API-Bank, greedy")
    titles = [f"{name}, n = {count}" for name, count in zip(head, counts, strict=True)]
    lines = [f"| exact match | {' | '.join(titles)} |", "|---" * (len(head) + 1) + "|"]
    lines += [line(name, [list(c.values()) for c in columns]) for name, columns in found.items()]
    cells = []
    for sft, rest in zip(found["after SFT"], found["after ResT"], strict=True):
        difference = paired(list(sft.values()), [rest[item] for item in sft])
        cells.append(
            f"{100 * difference.difference:+.1f} points ({100 * difference.low:+.1f} to "
            f"{100 * difference.high:+.1f})"
        )
    lines.append(f"| ResT - SFT, paired | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("TOOLREST_DATA"))
    parser.add_argument("--items", type=int, default=16, help="of each level of API-Bank")
    options = parser.parse_args()
    if options.data is None or not (options.data / "rlla_sft.json").is_file():
        raise SystemExit(
            "make real needs the folder of RLLA's and API-Bank's files, which ResT's repository "
            "has: make real DATA=FOLDER, with rlla_sft.json and apibank/ in it"
        )
    subprocess.run([sys.executable, str(ROOT / "scripts/smollm2.py"), str(BASE)], check=True)
    train(options.data / "rlla_sft.json")
    spoken = ("--dialect", "hermes", "--prompt", "plain", "--think")
    policies = {"base": (str(BASE), *spoken), "after SFT": (str(RUN / "warm_start"), *spoken)}
    policies["after ResT"] = (str(RUN), *spoken)
    apibank = {
        name: on_apibank(
            policy,
            RUN / "evaluation" / f"apibank-{STAGES[name]}",
            options.data / "apibank",
            options.items,
            *more,
        )
        for name, (policy, *more) in policies.items()
    }
    made = table(apibank)
    write_whole(RUN / "table.md", made)
    print(f"\n{made}\n{RUN / 'table.md'}")


if __name__ == "__main__":
    main()
