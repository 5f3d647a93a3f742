import io

from rich.console import Console

from toolrest.watch.live import LiveView, describe_step

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
