"""Plain functions, and Python objects, as environments."""

import os
import time
from pathlib import Path

import pytest
from environments.processes import all_gone

from toolrest.core.dialects import ToolCall
from toolrest.environments.base import Ending, Environment, EnvironmentFailure, Finish, Start, Step
from toolrest.environments.host import Host, Limits
from toolrest.errors import InputError

FILE = Path(__file__).parent / "sources" / "tools.py"
LIMITS = Limits(call_timeout=20)


class Slow:
    """One call takes a second."""

    def reset(self, row, seed):
        return Start(({"role": "user", "content": f"{row} {seed}"},))

    def call(self, calls):
        time.sleep(calls[0].parameters["seconds"])
        return Step(tuple((each.name, "slept") for each in calls))


class Meeting(Slow):
    """A call ends once all have begun, so that it never does where they take turns."""

    def call(self, calls):
        folder, all_of_them = Path(calls[0].parameters["folder"]), calls[0].parameters["all"]
        (folder / str(os.getpid())).touch()
        while len(list(folder.iterdir())) < all_of_them:
            time.sleep(0.01)
        return Step(tuple((each.name, "met") for each in calls))


def test_every_public_function_of_a_file_is_a_tool():
    with Host(str(FILE), LIMITS) as host:
        [episode] = host.start([({"prompt": "Add."}, 0)])
        names = [each["function"]["name"] for each in episode.start.tools]
        assert names == ["add", "fetch", "broken", "leave"]
        calls = [
            ToolCall("add", {"a": 1, "b": 2.5}),
            ToolCall("fetch", {"key": "é"}),
            ToolCall("broken", {}),
            ToolCall("leave", {}),
            ToolCall("dumps", {"obj": 1}),
        ]
        step = episode.call(calls).result()
        texts = [text for _, text in step.results]
        assert texts[:3] == [
            "3.5",
            '{"key": "é", "size": 8}',
            "error: broken: its result, a set, is no text or JSON",
        ]
        assert texts[3] == "error: SystemExit: 2"
        assert texts[4].startswith("error: there is no tool dumps; tools: add, fetch")
        assert step.errors == 3
        assert episode.finish("", Ending.ANSWERED).result() == Finish()
        [bare] = host.start([({"question": "?"}, 0)])
        assert "the row's prompt has no message of the user's" in bare.failure


def test_one_function_of_a_file_is_one_tool():
    with Host(f"{FILE}:add", LIMITS) as host:
        [episode] = host.start([({"prompt": "Add."}, 0)])
        assert [each["function"]["name"] for each in episode.start.tools] == ["add"]


def test_seven_calls_in_seven_episodes_run_side_by_side(tmp_path):
    """And the policy goes on meanwhile: none could end before the last is asked for."""
    with Host(Meeting, LIMITS) as host:
        episodes = host.start([({}, seed) for seed in range(7)])
        assert len({each.pid for each in episodes} | {None}) == 8
        met = ToolCall("meet", {"folder": str(tmp_path), "all": 7})
        steps = [each.call([met]) for each in episodes]
        assert [each.result().results for each in steps] == [(("meet", "met"),)] * 7


def test_the_seconds_of_an_episode_are_those_of_its_calls():
    with Host(Slow, LIMITS) as host:
        [episode] = host.start([({}, 0)])
        episode.call([ToolCall("sleep", {"seconds": 0.3})]).result()
        assert episode.seconds >= 0.3


def test_no_more_than_the_workers_are_at_work_at_once():
    with Host(Slow, Limits(call_timeout=20, workers=2)) as host:
        episodes = host.start([({}, 0)] * 4)
        began = time.monotonic()
        steps = [each.call([ToolCall("sleep", {"seconds": 0.3})]) for each in episodes]
        assert all(each.result().errors == 0 for each in steps)
        assert time.monotonic() - began > 0.6


def test_waiting_for_a_worker_is_not_a_call_that_takes_long():
    with Host(Slow, Limits(call_timeout=2.0, workers=1)) as host:
        episodes = host.start([({}, 0)] * 4)  # the last one's turn comes after 2.1 s
        steps = [each.call([ToolCall("sleep", {"seconds": 0.7})]) for each in episodes]
        assert all(each.result().errors == 0 for each in steps)


def test_a_class_of_a_module_runs_in_processes():
    with Host(Slow, LIMITS) as host:
        [episode] = host.start([({"a": 1}, 4)])
        assert episode.start.messages == ({"role": "user", "content": "{'a': 1} 4"},)
        assert episode.pid is not None and host.notes == ()
    assert all_gone([episode.pid])


def test_a_class_made_inside_of_a_function_runs_in_threads_and_says_so():
    held = []

    class Local(Slow):
        def finish(self, reply, ending):
            held.append(reply)
            return Finish(reward=2.0, message="And then?", success=True)

    with Host(Local, Limits(call_timeout=0.5)) as host:
        assert "run in threads of this process" in host.notes[0]
        first, second = host.start([({}, 0), ({}, 1)])
        assert first.pid is None
        ended = first.finish("Done.", Ending.ANSWERED).result()
        assert ended == Finish(2.0, "And then?", True) and held == ["Done."]
        with pytest.raises(EnvironmentFailure, match=r"Local: call took over 0.5 s"):
            second.call([ToolCall("sleep", {"seconds": 3})]).result()


def test_functions_made_inside_of_a_function_are_tools():
    def twice(n: int) -> int:
        """
        Double.

        Args:
            n: A number
        """
        return 2 * n

    with Host([twice], LIMITS) as host:
        [episode] = host.start([({"prompt": "Go."}, 0)])
        assert episode.call([ToolCall("twice", {"n": 4})]).result().results == (("twice", "8"),)


@pytest.mark.parametrize(
    "given", [3, Slow(), [], [Slow, Slow], {"a": 1}], ids=lambda given: type(given).__name__
)
def test_what_is_no_environment_is_refused(given):
    with pytest.raises(InputError, match="environment="):
        Host(given)


def test_the_process_that_forks_has_no_torch(tmp_path):
    file = tmp_path / "tools.py"
    file.write_text(
        "import sys\n\n\ndef torch_is_there() -> bool:\n"
        '    """\n    Look.\n    """\n    return "torch" in sys.modules\n'
    )
    with Host(str(file), LIMITS) as host:
        [episode] = host.start([({"prompt": "Look."}, 0)])
        step = episode.call([ToolCall("torch_is_there", {})]).result()
        assert step.results == (("torch_is_there", "false"),)


class Reusable(Slow):
    """Counts its resets and its calls of `close`."""

    reusable = True

    def __init__(self):
        self.resets = 0
        self.file = None

    def reset(self, row, seed):
        self.resets += 1
        self.file = row["file"]
        if row.get("fails"):
            raise ValueError("no")
        return Start(({"role": "user", "content": str(self.resets)},))

    def close(self):
        with open(self.file, "a") as file:
            file.write(f"{self.resets}\n")


def test_a_reusable_class_is_made_once_a_process_and_closed_with_the_host(tmp_path):
    row = {"file": str(tmp_path / "closed")}
    with Host(Reusable, LIMITS) as host:
        pids = set()
        for count in ("1", "2", "3"):
            episodes = host.start([(row, 0), (row, 1)])
            assert [each.start.messages[0]["content"] for each in episodes] == [count, count]
            pids |= {each.pid for each in episodes}
            assert [each.close().result() for each in episodes] == [None, None]
            with pytest.raises(EnvironmentFailure, match="it is closed"):
                episodes[0].finish("", Ending.ANSWERED).result()
        assert len(pids) == 2 and not (tmp_path / "closed").exists()
    assert (tmp_path / "closed").read_text() == "3\n3\n"
    assert all_gone(pids)


def test_a_process_whose_episode_failed_is_not_used_again(tmp_path):
    row = {"file": str(tmp_path / "closed")}
    with Host(Reusable, Limits(call_timeout=2.0)) as host:
        raised, slow = host.start([({**row, "fails": True}, 0), (row, 0)])
        assert "raised ValueError: no" in raised.failure
        assert slow.call([ToolCall("sleep", {"seconds": 9})]).exception() is not None
        for each in (raised, slow):
            each.close().result()
        assert all_gone([raised.pid, slow.pid])
        [after] = host.start([(row, 0)])
        assert after.start.messages[0]["content"] == "1"


class Bare(Environment):
    """A subclass of the protocol that leaves out what may be left out."""

    def reset(self, row, seed):
        return Start(({"role": "user", "content": "Go."},))

    def call(self, calls):
        return Step(tuple((each.name, "fine") for each in calls))


def test_a_subclass_of_the_protocol_may_leave_out_finish_and_close():
    with Host(Bare, LIMITS) as host:
        [episode] = host.start([({}, 0)])
        assert episode.finish("", Ending.ANSWERED).result() == Finish()
        assert episode.close().result() is None
