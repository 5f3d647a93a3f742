"""Whatever is killed, no process of an environment is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from environments.processes import all_gone, children_of, is_running

from toolrest.core.dialects import ToolCall
from toolrest.environments.base import Ending, EnvironmentFailure
from toolrest.environments.host import Host, Limits

SOURCES = Path(__file__).parent / "sources"
HOSTILE = f"{SOURCES / 'hostile.py'}:Hostile"
LOOK = [ToolCall("look", {})]
PARENT = f"""
import sys, time
from toolrest.core.dialects import ToolCall
from toolrest.environments.host import Host, Limits
host = Host({HOSTILE!r}, Limits(call_timeout=600))
rows = [{{}}, {{"where": "call", "how": "hang"}}, {{"where": "call", "how": "spin"}},
        {{"where": "reset", "how": "fork", "pids": sys.argv[1]}}]
episodes = host.start([(row, 0) for row in rows])
for each in episodes[1:3]:
    each.call([ToolCall("look", {{}})])
print(host._starter._process.pid, *(each.pid for each in episodes), flush=True)
time.sleep(600)
"""

KEPT = """
import os
class Kept:
    reusable = True
    def reset(self, row, seed):
        from toolrest.environments.base import Start
        return Start(({"role": "user", "content": "look"},))
    def call(self, calls): ...
    def close(self):
        with open(os.environ["CLOSED"], "a") as file:
            print(os.getpid(), file=file)
"""
ENDS = """
import sys, weakref
from toolrest.environments.host import Host
class Owner: ...
owner = Owner()
host = Host(sys.argv[1])
weakref.finalize(owner, host.close)
first, second = host.start([({}, 0), ({}, 0)])
first.close().result()
print(host._starter._process.pid, first.pid, second.pid, flush=True)
"""


def starter_of(host):
    return host._starter._process.pid


def test_closing_the_host_ends_everything():
    host = Host(HOSTILE, Limits(call_timeout=20))
    episodes = host.start([({}, 0), ({"where": "call", "how": "spin"}, 0), ({}, 0)])
    pids = [starter_of(host), *(each.pid for each in episodes)]
    spinning = episodes[1].call(LOOK)
    time.sleep(0.1)
    began = time.monotonic()
    assert host.close() == []
    assert time.monotonic() - began < 5
    assert all_gone(pids)
    assert isinstance(spinning.exception(), EnvironmentFailure)


def test_closing_twice_closes_once(tmp_path, monkeypatch):
    """A user may close what a trainer then closes as it goes."""
    monkeypatch.setenv("CLOSED", str(tmp_path / "closed"))
    (tmp_path / "kept.py").write_text(KEPT)
    host = Host(f"{tmp_path / 'kept.py'}:Kept", Limits(call_timeout=20))
    first, second = host.start([({}, 0), ({}, 0)])
    assert first.close().result() is None  # waits for its next episode
    pids = sorted([first.pid, second.pid])
    assert host.close() == []
    assert host.close() == []
    assert sorted(map(int, (tmp_path / "closed").read_text().split())) == pids
    assert all_gone(pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_starter_that_is_killed_is_begun_again(number, tmp_path):
    pids = tmp_path / "pids"
    with Host(HOSTILE, Limits(call_timeout=20)) as host:
        rows = [{}, {"where": "reset", "how": "fork", "pids": str(pids)}]
        before = host.start([(row, 0) for row in rows])
        first = starter_of(host)
        os.kill(first, number)
        assert all_gone([first, *(each.pid for each in before), int(pids.read_text())])
        with pytest.raises(EnvironmentFailure, match="Hostile: call "):
            before[0].call(LOOK).result()
        [after] = host.start([({}, 0)])
        assert after.failure is None and starter_of(host) != first
        assert after.finish("", Ending.ANSWERED).result().reward == 1.0


def test_a_parent_that_is_killed_leaves_nothing(tmp_path):
    pids = tmp_path / "pids"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(pids)], stdout=subprocess.PIPE, text=True
    )
    try:
        started = [int(each) for each in parent.stdout.readline().split()]
        started.append(int(pids.read_text()))
        assert len(started) == 6 and all(map(is_running, started))
    finally:
        parent.kill()
        parent.wait()
    assert all_gone(started)


def test_a_script_that_ends_closes_what_it_left_open(tmp_path):
    """Neither an episode that goes on nor a process that waits for its next one is lost."""
    (tmp_path / "kept.py").write_text(KEPT)
    ended = subprocess.run(
        [sys.executable, "-c", ENDS, f"{tmp_path / 'kept.py'}:Kept"],
        env=os.environ | {"CLOSED": str(tmp_path / "closed")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    started = [int(each) for each in ended.stdout.split()]
    assert len(started) == 3 and all_gone(started)
    closed = [int(each) for each in (tmp_path / "closed").read_text().split()]
    assert sorted(closed) == sorted(started[1:])


def test_a_parent_that_is_killed_as_a_file_is_run_leaves_nothing(tmp_path):
    slow = tmp_path / "slow.py"
    slow.write_text("import time\ntime.sleep(600)\ndef reset(): pass\n")
    code = f"from toolrest.environments.host import Host\nHost({str(slow)!r})"
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        until = time.monotonic() + 20
        while not (started := children_of(parent.pid)) and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(1.0)  # the starter is set to end with its parent, and runs the file
        assert started and all(map(is_running, started))
    finally:
        parent.kill()
        parent.wait()
    assert all_gone(started)


def test_episodes_begin_while_others_end():
    """The news of an end comes while a fork is waited for; neither may wait for the other."""
    began = time.monotonic()
    with Host(HOSTILE, Limits(call_timeout=30, workers=8)) as host:
        closing = []
        for _ in range(12):
            episodes = host.start([({}, 0)] * 4)
            assert [each.failure for each in episodes] == [None] * 4
            os.kill(episodes[0].pid, signal.SIGKILL)
            closing += [each.close() for each in episodes]
        first = starter_of(host)
        assert all("SIGKILL" in (each.result() or "SIGKILL") for each in closing)
        assert starter_of(host) == first
    assert time.monotonic() - began < 15
