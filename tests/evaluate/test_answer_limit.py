"""How long an answer may be follows what is asked of whom, and is said."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.evaluate.answer_limit import answer_limit
from toolrest.evaluate.target import Target
from toolrest.recipe import Recipe, load_recipe
from toolrest.runs.folder import RunFolder
from toolrest.world.demonstrations import demonstrated_samples
from toolrest.world.tasks import Split

EMBEDDED = Target(Recipe(), "embedded")
OWN = Target(Recipe(policy="x"), "x")
TRAINED = Target(load_recipe(None, ["rollout.max_response_tokens=64"]), "x", RunFolder(Path("x")))


@dataclass
class Words:
    """A tokenizer of so many tokens a text, whatever it says."""

    tokens: int

    def __call__(self, text, **_):
        return {"input_ids": [0] * self.tokens}


@pytest.mark.parametrize(
    ("asked", "benchmark", "target", "positions", "limit", "why"),
    [
        (5, "world", OWN, None, 5, "--max-tokens"),
        (5, "bfcl", TRAINED, 8, 5, "--max-tokens"),
        (None, "bfcl", OWN, None, 1024, "usual on bfcl"),
        (None, "apibank", TRAINED, 8192, 2048, "a quarter of 8192 positions"),
        (None, "world", TRAINED, 1024, 64, "its run's rollout.max_response_tokens"),
        (None, "world", EMBEDDED, 1024, 192, "as the embedded policy is trained"),
        # 1.25 x (399 and the end) = 500, to 512
        (None, "world", OWN, None, 512, "a quarter more than the 400 tokens"),
        (None, "world", OWN, 600, 300, "300 at most"),
    ],
)
def test_where_the_limit_comes_from(asked, benchmark, target, positions, limit, why):
    words: Any = Words(399)
    found = answer_limit(asked, benchmark, target, positions, lambda: words)
    assert found[0] == limit and why in found[1]


def test_without_a_tokenizer_no_reply_has_more_tokens_than_bytes():
    limit, why = answer_limit(None, "world", OWN, None, None)
    samples = demonstrated_samples(Split.HELDOUT, 256)
    assert limit >= max(len((sample.demonstration or "").encode()) for sample in samples)
    assert "taking each byte for one" in why


def test_an_evaluation_says_it_and_keeps_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("evaluate", "embedded", "--limit", "1", "--out", "a", "--quiet")
    done = CliRunner().invoke(app, [*asked, "--max-tokens", "4"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "answers      at most 4 tokens: --max-tokens" in done.stdout
    found = json.loads((tmp_path / "a" / "result.json").read_text())
    assert found["max_tokens"] == {"value": 4, "from": "--max-tokens"}
    assert found["settings"]["max_tokens"] == 4
