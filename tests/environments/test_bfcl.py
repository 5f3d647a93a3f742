"""BFCL's dialogues: the right calls earn everything, as the official checker has it."""

import ast
import json
from importlib.util import find_spec

import pytest

from toolrest.core.dialects import ToolCall
from toolrest.environments.base import Ending, EnvironmentFailure
from toolrest.environments.host import Host, Limits

pytestmark = pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is missing")


@pytest.fixture(scope="module")
def simulators():
    from toolrest.environments.adapters.bfcl import Simulators

    return Simulators("environment.source=bfcl")


def calls_of(item, turn, methods):
    """The right calls of a turn; arguments by place become parameters."""
    import inspect

    made = []
    for written in item.gold[turn]:
        call = ast.parse(written, mode="eval").body
        names = list(inspect.signature(methods[call.func.id]).parameters)
        values = {n: ast.literal_eval(a) for n, a in zip(names, call.args, strict=False)}
        values |= {each.arg: ast.literal_eval(each.value) for each in call.keywords}
        made.append(ToolCall(call.func.id, json.loads(json.dumps(values))))
    return made


def played(simulators, identity, change=lambda turn, calls: calls):
    """The finishes of a dialogue that is played with its right calls, changed."""
    environment = simulators.make()
    environment.reset({"id": identity}, 0)
    item = simulators.item({"id": identity})
    finishes = []
    for turn in range(len(item.question)):
        for call in change(turn, calls_of(item, turn, environment._methods)):
            environment.call([call])
        finishes.append(environment.finish("Done.", Ending.ANSWERED))
    return finishes


@pytest.mark.parametrize("category", ["base", "miss_func", "miss_param", "long_context"])
@pytest.mark.parametrize("at", [0, 17, 60, 111, 199])
def test_the_right_calls_earn_one_in_all(simulators, category, at):
    finishes = played(simulators, f"multi_turn_{category}_{at}")
    assert sum(each.reward for each in finishes) == pytest.approx(1.0)
    assert [each.success for each in finishes] == [None] * (len(finishes) - 1) + [True]
    assert all(each.message for each in finishes[:-1]) and finishes[-1].message is None


@pytest.mark.parametrize(
    "change",
    [
        lambda turn, calls: [] if turn == 1 else calls,
        lambda turn, calls: calls[:-1] if turn == 0 else calls,
        lambda turn, calls: [*calls, ToolCall("mkdir", {"dir_name": "x"})] if not turn else calls,
    ],
    ids=["a turn without a call", "a call too few", "another state"],
)
def test_what_is_not_right_earns_less_and_is_no_success(simulators, change):
    finishes = played(simulators, "multi_turn_base_0", change)
    assert finishes[-1].success is False
    assert sum(each.reward for each in finishes) < 1.0


def test_functions_that_come_later_are_listed_in_the_message(simulators):
    item = next(each for each in simulators._items.values() if "miss_func" in each.identity)
    [(turn, later)] = item.later.items()
    names = [each["function"]["name"] for each in later]
    assert not set(names) & {each["function"]["name"] for each in item.functions}
    said = played(simulators, item.identity)[turn - 1].message
    *listed, ending = said.splitlines()
    assert [json.loads(each)["name"] for each in listed] == names
    assert ending.startswith("I have updated some more functions")


def test_a_wrong_call_is_answered_as_officially(simulators):
    environment = simulators.make()
    environment.reset({"index": 0}, 0)
    calls = [
        ToolCall("nothing", {}),
        ToolCall("cd", {"fold": "document"}),
        ToolCall("cd", {"folder": "nowhere"}),
        ToolCall("_load_scenario", {"scenario": {}}),
        ToolCall("pwd", {}),
    ]
    step = environment.call(calls)
    texts = [text for _, text in step.results]
    assert texts[0] == "Error during execution: name 'nothing' is not defined"
    assert "unexpected keyword argument 'fold'" in texts[1]
    assert "error" in texts[2] and "not defined" in texts[3]
    assert texts[4] == '{"current_working_directory": "/workspace"}'
    assert step.errors == 4
    ended = environment.finish("", Ending.TURNS)
    assert (ended.reward, ended.success, ended.message) == (0.0, False, None)


def test_it_plays_in_processes_and_keeps_its_simulators():
    with Host("bfcl", Limits(call_timeout=20)) as host:
        first, again, wrong = host.start([({"index": 0}, 0), ({"index": 0}, 0), ({"id": "x"}, 0)])
        assert first.start == again.start and first.start.tools
        assert "BFCL has no dialogue 'x'" in wrong.failure
        schemas = json.dumps([each["function"]["parameters"] for each in first.start.tools])
        assert '"type": "dict"' not in schemas and '"type": "object"' in schemas
        first.call([ToolCall("cd", {"folder": "document"})]).result()
        for _ in range(2):
            text = first.call([ToolCall("pwd", {})]).result().results[0][1]
            assert text.endswith('document"}')
        assert "document" not in again.call([ToolCall("pwd", {})]).result().results[0][1]


def test_a_dialogue_that_is_not_there_is_a_failure(simulators):
    with pytest.raises(EnvironmentFailure, match="a row has an id, such as multi_turn_base_17"):
        simulators.make().reset({"prompt": "Go."}, 0)
