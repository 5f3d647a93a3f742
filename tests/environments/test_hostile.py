"""Environments that hang, die, grow or answer nonsense end in bounded time with one clear line."""

import re
import time
from pathlib import Path

import pytest
from environments.processes import all_gone

from toolrest.core.dialects import ToolCall
from toolrest.environments import episode as episode_module
from toolrest.environments import printed
from toolrest.environments.base import Ending, EnvironmentFailure
from toolrest.environments.host import Host, Limits
from toolrest.environments.texts import LONGEST_RESULT

SOURCES = Path(__file__).parent / "sources"
HOSTILE = f"{SOURCES / 'hostile.py'}:Hostile"
LOOK = [ToolCall("look", {"at": "it"})]
CHAINS = SOURCES / "hostile_chains.py"
HANGS = 0.4
"""Seconds that a call may take where it is to hang; the machine may be busy with much else."""


@pytest.fixture(scope="module")
def quick():
    with Host(HOSTILE, Limits(call_timeout=HANGS, workers=4)) as host:
        yield host


@pytest.fixture(scope="module")
def calm():
    with Host(HOSTILE, Limits(call_timeout=20, workers=4, max_memory=0.3)) as host:
        yield host


def play(host, row):
    """What comes of an episode of one turn: (failure, step, finish), and it is closed."""
    [episode] = host.start([(row, 0)])
    step = finish = None
    try:
        if episode.failure is None:
            step = episode.call(LOOK).result()
            finish = episode.finish("Done.", Ending.ANSWERED).result()
    except EnvironmentFailure as failure:
        assert str(failure) == episode.failure
    failure = episode.failure
    closing = episode.close().result()
    assert all_gone([episode.pid])
    return failure, step, finish, closing


@pytest.mark.parametrize("where", ["reset", "call", "finish"])
@pytest.mark.parametrize("how", ["hang", "ignores signals"])
def test_what_hangs_is_killed_in_time(quick, where, how):
    began = time.monotonic()
    failure, *_, closing = play(quick, {"where": where, "how": how})
    assert failure == f"environment hostile.py:Hostile: {where} took over {HANGS} s"
    assert closing is None
    assert time.monotonic() - began < HANGS + 3


def test_an_async_method_that_hangs_is_killed_too(quick):
    failure, *_ = play(quick, {"how": "async hang"})
    assert failure == f"environment hostile.py:Hostile: call took over {HANGS} s"


def test_a_close_that_hangs_is_killed_and_told(quick, monkeypatch):
    monkeypatch.setattr(episode_module, "CLOSE_SECONDS", 0.2)
    began = time.monotonic()
    failure, _, finish, closing = play(quick, {"where": "close", "how": "hang"})
    assert failure is None and finish.reward == 1.0
    assert closing == "environment hostile.py:Hostile: close took over 0.2 s"
    assert time.monotonic() - began < 4


def test_a_reward_that_hangs_is_killed():
    with Host(f"{SOURCES / 'bank.py'}:Endless", Limits(call_timeout=HANGS)) as host:
        [episode] = host.start([({"prompt": "Pay."}, 0)])
        with pytest.raises(EnvironmentFailure, match=rf"Endless: finish took over {HANGS} s"):
            episode.finish("", Ending.ANSWERED).result()


@pytest.mark.parametrize("where", ["reset", "call", "finish"])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise", r"{} raised ValueError: no such account \(hostile.py, line \d+\)"),
        ("sys.exit", r"{} raised SystemExit: 3 \(hostile.py, line \d+\)"),
        ("interrupt", r"{} raised KeyboardInterrupt: it was interrupted \(hostile.py, line \d+\)"),
        ("os._exit", "{} ended with code 3"),
        ("abort", "{} was killed by SIGABRT"),
        ("grows", "{} grew by over 0.3 GB"),
    ],
)
def test_what_fails_says_what_and_where(calm, where, how, said):
    failure, *_ = play(calm, {"where": where, "how": how})
    assert failure is not None and "\n" not in failure
    wanted = "environment hostile.py:Hostile: " + said.replace("{}", where)
    assert re.fullmatch(wanted, failure), failure


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("wrong kind", "TypeError: call gave a str, not a Step"),
        ("too many", "ValueError: call gave 2 results of 1 calls"),
        ("no number", "ValueError: call gave the reward nan, which is no finite number"),
    ],
)
def test_a_step_that_is_none_fails(calm, how, said):
    failure, *_ = play(calm, {"where": "call", "how": how})
    assert failure == f"environment hostile.py:Hostile: call raised {said}"


@pytest.mark.parametrize("how", ["raise", "sys.exit", "os._exit", "grows"])
def test_a_close_that_fails_is_told_and_ends(calm, how):
    failure, _, finish, closing = play(calm, {"where": "close", "how": how})
    assert failure is None and finish.reward == 1.0
    assert closing.startswith("environment hostile.py:Hostile: close ")
    assert "\n" not in closing


@pytest.mark.parametrize("where", ["reset", "call", "finish"])
def test_close_is_called_of_what_raised(calm, where, tmp_path):
    play(calm, {"where": where, "how": "raise", "closed": str(tmp_path / "closed")})
    assert (tmp_path / "closed").read_text() == "closed\n"


def test_close_is_called_once_of_what_went_well(calm, tmp_path):
    [episode] = calm.start([({"closed": str(tmp_path / "closed")}, 0)])
    assert episode.close().result() is None
    assert episode.close().result() is None
    assert (tmp_path / "closed").read_text() == "closed\n"
    with pytest.raises(EnvironmentFailure, match="it is closed"):
        episode.call(LOOK).result()


@pytest.mark.parametrize("how", ["big", "big json"])
def test_a_result_of_ten_megabytes_is_cut_in_the_middle(calm, how):
    failure, step, _, _ = play(calm, {"where": "call", "how": how})
    assert failure is None
    [(name, text)] = step.results
    assert name == "look" and len(text) < LONGEST_RESULT + 100
    assert "characters are left out" in text
    assert text.rstrip('"]').endswith("0123456789")


@pytest.mark.parametrize("how", ["no json", "nested"])
def test_a_result_that_is_no_json_is_an_error_for_the_policy(calm, how):
    failure, step, _, _ = play(calm, {"where": "call", "how": how})
    assert failure is None and step.errors == 1
    assert step.results[0][1].startswith("error: look: its result, a ")


@pytest.mark.parametrize("where", ["reset", "call", "finish"])
@pytest.mark.parametrize("how", ["prints", "sleeps", "fork twice"])
def test_what_prints_sleeps_or_forks_breaks_nothing(calm, where, how):
    failure, step, finish, closing = play(calm, {"where": where, "how": how})
    assert (failure, closing) == (None, None)
    assert step.results == (("look", "fine"),) and finish.reward == 1.0


def test_what_changes_its_arguments_changes_nothing_here(calm):
    [episode] = calm.start([({"how": "changes its arguments"}, 0)])
    calls = [ToolCall("look", {"at": ["it"]})]
    assert episode.call(calls).result().results == (("look", "fine"),)
    assert calls == [ToolCall("look", {"at": ["it"]})]
    episode.close()


@pytest.mark.parametrize("how", ["fork", "daemon"])
@pytest.mark.parametrize("where", ["reset", "call", "close"])
def test_what_an_environment_leaves_running_ends_with_it(calm, where, how, tmp_path):
    pids = tmp_path / "pids"
    play(calm, {"where": where, "how": how, "pids": str(pids)})
    left = [int(each) for each in pids.read_text().split()]
    assert left and all_gone(left)


def test_one_failure_leaves_the_others_alone(quick):
    rows = [{"where": "call", "how": how} for how in ("hang", "sleeps", "os._exit", "sleeps")]
    episodes = quick.start([(row, 0) for row in rows])
    steps = [each.call(LOOK) for each in episodes]
    failed = [each.exception() is not None for each in steps]
    assert failed == [True, False, True, False]
    for each in episodes:
        each.close()


def test_an_episode_has_a_limit_of_its_own():
    limits = Limits(call_timeout=20, episode_timeout=1.0)
    with Host(HOSTILE, limits) as host:
        [episode] = host.start([({"where": "call", "how": "hang"}, 0)])
        with pytest.raises(EnvironmentFailure, match=r"took over 1 s with what went before"):
            episode.call(LOOK).result()


def test_a_row_that_is_no_json_fails_by_name(calm):
    [episode] = calm.start([({"image": object()}, 0)])
    assert episode.failure == "environment hostile.py:Hostile: reset: a object is no JSON"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("Servers", None),  # what it started ends with it
        ("Sockets", "finish ended with code 1"),
        ("Stopped", "finish took over 2 s"),
        ("Waits", "finish took over 2 s"),
        ("Wordless", "finish raised Odd: Odd (hostile_chains.py, line {})"),
        (
            "Deep",
            "finish raised RecursionError: it is nested too deeply (hostile_chains.py, line {})",
        ),
    ],
)
def test_other_ways_to_go_wrong_at_the_end_are_one_line_too(kind, said, tmp_path, monkeypatch):
    monkeypatch.setenv("HOSTILE_NOTES", str(tmp_path / "pids"))
    with Host(f"{CHAINS}:{kind}", Limits(call_timeout=2)) as host:
        [episode] = host.start([({"index": 0}, 0)])
        assert episode.start is not None, episode.failure
        failure = episode.finish("Done.", Ending.ANSWERED).exception()
        assert episode.close().result() is None
    found = None if failure is None else re.sub(r"line \d+", "line {}", str(failure))
    assert found == (said and f"environment hostile_chains.py:{kind}: {said}")
    assert all_gone([int(each) for each in (tmp_path / "pids").read_text().split()])


@pytest.mark.slow
def test_what_prints_without_end_does_not_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(printed, "MOST_PRINTED", 100_000)
    log = tmp_path / "environment.log"
    log.write_text("of an earlier run\n")
    for _ in range(2):  # a second run adds to what is there
        with Host(f"{CHAINS}:Endless", Limits(call_timeout=1), log) as host:
            [episode] = host.start([({"index": 0}, 0)])
            with pytest.raises(EnvironmentFailure, match="finish took over 1 s"):
                episode.finish("", Ending.ANSWERED).result()
    text = log.read_text()
    assert text.startswith("of an earlier run\nnoise")
    assert 100_000 < len(text) < 100_200 and text.count("nothing of what was printed later") == 1


def test_all_that_is_printed_is_there_as_the_host_is_closed(tmp_path):
    with Host(HOSTILE, Limits(call_timeout=20), tmp_path / "log") as host:
        [episode] = host.start([({"where": "call", "how": "prints"}, 0)])
        episode.call(LOOK).result()
        episode.close().result()
    assert (tmp_path / "log").read_text().count("noise") == 100_000
