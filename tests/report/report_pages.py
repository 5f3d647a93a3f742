"""Runs with something in every view, and pages opened in a browser, for the tests of the page."""

import json
import shutil

from toolrest.recipe import Recipe, dump_recipe

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = (
    "<script>bad()</script></style><img src=x onerror=bad()>javascript:bad() \u202eevil\x07\u2028"
)
PIECES = ["<think>", " look", "</think>\n", HOSTILE, "x" * 20_000]
REGIONS = ["format", "reasoning", "format", "name", "parameters"]
WEIGHTS = [2.0, 0.5, 2.0, 1.5, 1.0]


def response(step, identity, total, advantage, exact, format=1.0):
    reward = {"total": total, "format_reward": 1.0, "correctness_reward": total - 1}
    reward |= {"format": format, "correctness": 0.5, "exact": exact, "status": "ok"}
    row = {"step": step, "identity": identity, "ground_truth": HOSTILE, "reward": reward}
    row |= {"response": "".join(PIECES), "tokens": PIECES, "regions": REGIONS, "weights": WEIGHTS}
    return row | {"ids": [1] * 5, "advantage": advantage, "prompt": HOSTILE}


def a_run(folder, steps=3):
    """A run with every view's contents: a good, a bad-format, and an all-equal group a step."""
    (folder / "rollouts").mkdir(parents=True)
    (folder / "evaluation").mkdir()
    (folder / "recipe.yaml").write_text(dump_recipe(Recipe()))
    (folder / "environment.json").write_text('{"versions": {"torch": "2"}, "commit": "abc"}')
    results = {
        "n": 8,
        "exact_match": 0.5,
        "greedy_exact_match": 0.75,
        "reward": 1,
        "greedy_reward": 2,
    }
    (folder / "summary.json").write_text(
        json.dumps({"before": results, "after": results, "seconds": 9})
    )
    lines = []
    for step in range(1, steps + 1):
        row = {"step": step, "reward": 1.0 + step, "grad_norm": float("nan") if step == 2 else 1.0}
        row |= {f"{k}/{r}": 0.5 for k in ("entropy", "weight", "signal", "share") for r in REGIONS}
        lines.append(json.dumps(row) + "\n")
        rows = [
            *(response(step - 1, "a", 4 - 2 * n, 1 - 2 * n, n == 0) for n in range(2)),
            *(response(step - 1, "b", 1 - n, 0.5, False, format=0.0) for n in range(2)),
            *(response(step - 1, "c", 4, 0.0, True) for n in range(2)),
        ]
        text = "".join(json.dumps(each) + "\n" for each in rows)
        (folder / "rollouts" / f"step-{step - 1:06d}.jsonl").write_text(text)
    (folder / "metrics.jsonl").write_text("".join(lines))
    points = [{"step": s, "exact_match": 0.1 * s, "greedy_exact_match": 0.2} for s in range(4)]
    (folder / "evaluation" / "curve.jsonl").write_text(
        "".join(json.dumps(p) + "\n" for p in points)
    )
    failure = {"identity": "t", "decoding": "greedy", "response": HOSTILE, "ground_truth": "g"}
    failure["reward"] = {"exact": False, "status": "bad_call", "format": 0, "correctness": 0}
    (folder / "evaluation" / "after.jsonl").write_text(json.dumps(failure) + "\n")
    (folder / "evaluation" / "bfcl-1").mkdir()
    wrong = {"identity": "simple_1", "check": "no call", "expected": [{"f": {}}]}
    wrong["got"] = {"text": HOSTILE}
    (folder / "evaluation" / "bfcl-1" / "failures.jsonl").write_text(json.dumps(wrong) + "\n")
    return folder


class Opened:
    """A page, and everything that it should not have done."""

    def __init__(self, browser, file, **options):
        self.page = browser.new_page(**options)
        self.trouble = []
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("dialog", lambda dialog: self.trouble.append("dialog"))
        self.page.on("request", self._asked)
        self.page.goto(file.as_uri())

    def _asked(self, request):
        if not request.url.startswith("file:"):
            self.trouble.append(request.url)
