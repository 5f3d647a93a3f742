"""A measurement that is piped says how far it is, on the error output."""

import pytest

from toolrest.cli import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds, which a test moves."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_now_and_then_where_there_is_no_terminal(clock, capsys):
    with progress.shown_progress("gradients of it", 40) as show:
        for done in range(1, 41):
            clock[0] += 10.0
            show(done)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert not out and len(lines) == 13  # every 30 s of 400
    assert lines[0] == "gradients of it: 3/40, 6.2 minutes left"
    assert lines[-1] == "gradients of it: 39/40, 10 seconds left"


def test_nothing_is_said_of_what_is_soon_over(clock, capsys):
    with progress.shown_progress("it", 2) as show:
        show(0)
        clock[0] += 29.0
        show(2)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal_goes_again(monkeypatch, capsys):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.shown_progress("gradients", 4) as show:
        show(4)
    out, err = capsys.readouterr()
    assert not out and "gradients" in err
