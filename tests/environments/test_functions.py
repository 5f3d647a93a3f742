"""Plain functions, and Python objects, as environments."""

import time
from pathlib import Path

import pytest
from environments.processes import all_gone

from toolrest.core.dialects import ToolCall
from toolrest.environments.base import Ending, EnvironmentFailure, Finish, Start, Step
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


def test_seven_calls_of_a_second_in_seven_episodes_end_within_two():
    with Host(Slow, LIMITS) as host:
        episodes = host.start([({}, seed) for seed in range(7)])
        assert len({each.pid for each in episodes} | {None}) == 8
        began = time.monotonic()
        steps = [each.call([ToolCall("sleep", {"seconds": 1.0})]) for each in episodes]
        assert time.monotonic() - began < 0.5  # the policy goes on
        assert [each.result().results for each in steps] == [(("sleep", "slept"),)] * 7
        assert time.monotonic() - began < 2.0
        assert all(1.0 <= each.seconds < 2.0 for each in episodes)


def test_no_more_than_the_workers_are_at_work_at_once():
    with Host(Slow, Limits(call_timeout=20, workers=2)) as host:
        episodes = host.start([({}, 0)] * 4)
        began = time.monotonic()
        steps = [each.call([ToolCall("sleep", {"seconds": 0.3})]) for each in episodes]
        assert all(each.result().errors == 0 for each in steps)
        assert time.monotonic() - began > 0.6


def test_waiting_for_a_worker_is_not_a_call_that_takes_long():
    with Host(Slow, Limits(call_timeout=0.8, workers=1)) as host:
        episodes = host.start([({}, 0)] * 4)
        steps = [each.call([ToolCall("sleep", {"seconds": 0.3})]) for each in episodes]
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


@pytest.mark.parametrize("given", [3, Slow(), [], [Slow, Slow], {"a": 1}], ids=str)
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
