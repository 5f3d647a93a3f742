"""A class as TRL has them plays unchanged."""

from pathlib import Path

import pytest

from toolrest.core.dialects import ToolCall
from toolrest.environments.base import Ending, EnvironmentFailure
from toolrest.environments.host import Host, Limits

FILE = Path(__file__).parent / "sources" / "bank.py"
ROW = {"prompt": [{"role": "system", "content": "You pay."}, {"role": "user", "content": "Pay 5."}]}


@pytest.fixture(scope="module")
def bank():
    with Host(f"{FILE}:Bank", Limits(call_timeout=20)) as host:
        yield host


def begun(host, row=ROW, seed=3):
    [episode] = host.start([(row, seed)])
    assert episode.failure is None, episode.failure
    return episode


def test_what_reset_shows_is_added_to_the_last_message_of_the_user(bank):
    messages = begun(bank).start.messages
    assert messages[0] == {"role": "system", "content": "You pay."}
    assert messages[1]["role"] == "user"
    assert messages[1]["content"].startswith("Pay 5. The account holds ")
    assert ROW["prompt"][1] == {"role": "user", "content": "Pay 5."}


@pytest.mark.parametrize(
    ("row", "before"),
    [
        ({"prompt": "Pay."}, "Pay. The account"),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": "P"}]}]}, "P The"),
        ({"index": 3}, " The account"),
    ],
)
def test_a_prompt_is_a_text_or_messages_or_missing(bank, row, before):
    messages = begun(bank, row).start.messages
    assert len(messages) == 1 and messages[0]["content"].startswith(before)


def test_only_public_methods_with_docstring_and_type_hints_are_tools(bank):
    tools = begun(bank).start.tools
    names = {each["function"]["name"] for each in tools}
    assert names == {"pay", "look", "wait"}
    [pay] = [each for each in tools if each["function"]["name"] == "pay"]
    assert pay["type"] == "function"
    assert pay["function"]["parameters"]["required"] == ["amount"]
    assert pay["function"]["parameters"]["properties"]["to"]["type"] == "string"
    assert bank.left_out == ("audit has no docstring", "undocumented has no docstring")


def test_calls_change_the_state_and_the_end_has_the_reward(bank):
    episode = begun(bank)
    step = episode.call([ToolCall("pay", {"amount": 5}), ToolCall("look", {})]).result()
    assert step.results[0] == ("pay", "paid 5 to landlord")
    assert '"paid": 5' in step.results[1][1]
    assert (step.errors, step.reward, step.done) == (0, 0.0, False)
    assert episode.finish("Paid.", Ending.ANSWERED).result().reward == 1.0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (ToolCall("pay", {"amount": 10**6}), "error: ValueError: the account does not hold as"),
        (ToolCall("pay", {"sum": 5}), "error: pay: missing a required argument: 'amount'; its par"),
        (ToolCall("pay", {"amount": 5, "x": 1}), "error: pay: got an unexpected keyword argument"),
        (ToolCall("pay", {"amount": "five"}), "error: TypeError: "),
        (ToolCall("pai", {}), "error: there is no tool pai; tools: look, pay, wait"),
        (ToolCall("reset", {}), "error: there is no tool reset"),
        (ToolCall("close", {}), "error: there is no tool close"),
        (ToolCall("state", {}), "error: there is no tool state"),
        (ToolCall("get_reward", {}), "error: there is no tool get_reward"),
        (ToolCall("_hidden", {"amount": 1}), "error: there is no tool _hidden"),
        (ToolCall("audit", {"secret": 1}), "error: there is no tool audit"),
        (ToolCall("__init__", {}), "error: there is no tool __init__"),
    ],
)
def test_what_the_policy_gets_wrong_is_a_result(bank, call, said):
    episode = begun(bank)
    step = episode.call([call, ToolCall("look", {})]).result()
    assert step.results[0][1].startswith(said) and step.errors == 1
    assert step.results[1][1].startswith('{"balance"')


def test_async_tools_of_a_reply_run_side_by_side(bank):
    episode = begun(bank)
    step = episode.call([ToolCall("wait", {"seconds": 0.3})] * 5).result()
    assert [text for _, text in step.results] == ["waited"] * 5
    assert episode.seconds < 1.2


def test_equal_seeds_begin_equal_episodes_whichever_process_they_run_in(bank):
    first = [each.start for each in bank.start([(ROW, seed) for seed in (1, 2, 3, 1)])]
    assert first[0] == first[3]
    assert len({str(each) for each in first}) == 3
    with Host(f"{FILE}:Bank", Limits(call_timeout=20)) as other:
        assert [each.start for each in other.start([(ROW, 1), (ROW, 2)])] == first[:2]


@pytest.mark.parametrize(
    ("name", "reward"), [("Patient", 0.25), ("Kept", 0.5)], ids=["async get_reward", "a number"]
)
def test_the_other_ways_to_give_a_reward(name, reward):
    with Host(f"{FILE}:{name}", Limits(call_timeout=20)) as host:
        episode = begun(host)
        if name == "Kept":
            episode.call([ToolCall("echo", {"message": "Hello"})]).result()
        assert episode.finish("", Ending.TURNS).result().reward == reward


def test_reset_has_the_columns_that_it_takes_and_the_seed():
    with Host(f"{FILE}:Columns", Limits(call_timeout=20)) as host:
        episode = begun(host, {"prompt": "Go.", "account": "a1", "other": 1}, seed=7)
        assert episode.start.messages[-1]["content"] == "Go. a1 7"
        [failed] = host.start([({"prompt": "Go."}, 0)])
        assert "reset raised TypeError" in failed.failure and "account" in failed.failure


@pytest.mark.slow
def test_what_earns_nothing_or_no_number_is_said(tmp_path):
    """Rewards of 0 by oversight look like a policy that learns nothing."""
    tool = '    def go(self) -> str:\n        """Go."""\n        return "gone"\n'
    begin = '    def reset(self):\n        return "Go."\n' + tool
    given = {"Typo": "def get_rewards(self): return 1.0", "Number": "reward = 0.5"}
    given |= {"Text": "def get_reward(self): return '1.0'"}
    given |= {"Nothing": "def get_reward(self): pass"}
    given |= {"Numpy": "def get_reward(self): import numpy; return numpy.float32(0.5)"}
    file = tmp_path / "ways.py"
    file.write_text("".join(f"class {n}:\n{begin}    {w}\n" for n, w in given.items()))
    for name in given:
        with Host(f"{file}:{name}", Limits(call_timeout=20)) as host:
            assert any("has no get_reward" in note for note in host.notes) == (name == "Typo")
            episode = begun(host, {"prompt": "Go."})
            if name in ("Text", "Nothing"):
                kind = "a str" if name == "Text" else "a NoneType"
                with pytest.raises(EnvironmentFailure, match=f"{kind} and no number"):
                    episode.finish("", Ending.ANSWERED).result()
            else:
                reward = episode.finish("", Ending.ANSWERED).result().reward
                assert reward == (0.0 if name == "Typo" else 0.5)
