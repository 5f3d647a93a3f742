import io
import json
import math

import pytest
from rich.console import Console

from toolrest.report.live import LiveView, best_and_worst, describe_step, sparkline

METRICS = {
    "reward": 1.234,
    "reward/exact_match": 0.5,
    "entropy": 0.4,
    "entropy/format": 0.01,
    "entropy/reasoning": 0.75,
}


def test_a_step_in_one_line():
    expected = "reward 1.23  exact 0.50  entropy:  format 0.01  reasoning 0.75"
    assert describe_step(METRICS) == expected


def test_plain_lines_where_there_is_no_terminal(monkeypatch):
    view = LiveView()
    view._console = Console(file=io.StringIO(), width=40)
    with view:
        view.stage("training", 5)
        view.step(2, METRICS)
    lines = view._console.file.getvalue().splitlines()
    assert lines == ["training", f"step 2/5  {describe_step(METRICS)}"]


def test_quiet_is_silent():
    view = LiveView(quiet=True)
    view._console = Console(file=io.StringIO(), force_terminal=True)
    with view:
        view.stage("training", 5)
        view.step(2, METRICS)
        view.note("x")
    assert view._console.file.getvalue() == ""


def test_a_sparkline_by_hand():
    assert sparkline([0.0, 7.0, 3.5]) == "▁█▅"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([math.nan, 1.0, math.inf, 2.0]) == " ▁ █"
    assert sparkline([math.nan]) == " "
    assert len(sparkline(range(100))) == 24


@pytest.mark.parametrize("width", [30, 80, 200])
def test_the_board_fits_the_terminal_and_has_what_is_known(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    with LiveView(console=console) as view:
        view.stage("training", 5)
        for step in (1, 2):
            more = {"seconds": 2.0 * step, "num_tokens": 100.0 * step, "weight/reasoning": 0.5}
            view.step(step, METRICS | more | {"grad_norm": math.nan})
        board = view._board()
    plain = Console(file=io.StringIO(), width=width, color_system=None)
    plain.print(board)
    text = plain.file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    assert "2/5" in text
    if width >= 60:
        assert "50" in text.split("tokens/s")[1].splitlines()[0]
        assert "reasoning" in text and "0.75" in text and "exact match" in text


def test_the_best_and_the_worst_saved_response(tmp_path):
    rows = [
        {"response": f"r{total}\n\x1b[31m", "reward": {"total": total}}
        for total in (1.0, 4.0, -2.0)
    ]
    (tmp_path / "step-000010.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    best, worst = best_and_worst(tmp_path, 10)
    assert best.startswith("best saved response, reward 4.00: r4.0⏎") and "\x1b" not in best
    assert worst.startswith("worst saved response, reward -2.00")
    assert best_and_worst(tmp_path, 8) == []
    console = Console(file=io.StringIO(), width=80)
    view = LiveView(rollouts=tmp_path, console=console)
    view.step(10, METRICS)
    assert "worst saved response" in console.file.getvalue()
