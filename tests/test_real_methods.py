"""`scripts/real_methods.py`: what is put aside, and its table, by numbers worked out by hand."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "real_methods.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("real_methods", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def options(script, tmp_path):
    rows = [{"instruction": f"do {number}"} for number in range(40)]
    (tmp_path / "rlla_sft.json").write_text(json.dumps(rows))
    found = script.read(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "seed=3"])
    found.out.mkdir()
    return found


def put_aside(options):
    folder = options.out / "rows"
    return [json.loads((folder / f"{name}.json").read_text()) for name in ("train", "heldout")]


def test_a_quarter_of_the_rows_is_put_aside_once_for_every_seed(script, options):
    given = script.split(options)
    train, heldout = put_aside(options)
    both = [row["instruction"] for row in train + heldout]
    assert (len(train), len(heldout)) == (30, 10) and len(set(both)) == 40
    assert f"evaluation.path={options.out}/rows/heldout.json" in given
    (options.data / "rlla_sft.json").write_text("[]")
    options.overrides = ["seed=4"]
    assert script.split(options) == given and put_aside(options) == [train, heldout]


def test_every_run_is_told_the_same_rows(script, options, monkeypatch):
    calls = []
    monkeypatch.setattr(script, "toolrest", lambda *words, within: calls.append(words))
    taught = script.teach(options, "policy")
    script.gain(options, taught)
    script.compare(options, taught)
    assert [call[0] for call in calls] == ["train", "gain", "compare"]
    for call in calls:
        assert set(script.split(options)) <= set(call) and "seed=3" in call
    assert "evaluation.before=false" in calls[2]


def test_the_table_is_of_differences_item_by_item(script):
    base = [{"a": False, "b": False, "c": True, "d": True}] * 2
    other = [
        {"a": True, "b": True, "c": True, "d": True},
        {"a": True, "b": False, "c": True, "d": False},
    ]
    start = [{"a": False, "b": False, "c": False, "d": True}]
    found = script.table({"rows": {"after SFT": start, "grpo": base, "rest": other}}, "grpo")
    lines = [line.split("|") for line in found.splitlines() if line.startswith("|")]
    assert "n = 4" in lines[0][1]
    cells = [[cell.strip() for cell in line[1:]] for line in lines[2:]]
    assert [row[0] for row in cells] == ["after SFT", "grpo", "rest"]
    assert [row[2].partition(" (")[0] for row in cells] == ["25.0", "50.0", "75.0"]
    assert [row[3].partition(" (")[0] for row in cells] == ["", "", "+25.0"]
    assert [row[5].partition(" (")[0] for row in cells] == ["", "+25.0", "+50.0"]
    # McNemar of 2 items gained and none lost, and of one each: exact, 0.5 and 1
    assert [row[4] for row in cells] == ["", "", "0.50, 1.00"]
