"""Every real answer is written and read back in every dialect that can express it."""

import importlib.util
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from toolrest.core.dialects import ParseStatus, ToolCall, dialect_names, get_dialect
from toolrest.data.formats.rlla_text import listed_tools
from toolrest.errors import InputError

CANNOT = {
    # values of another type than their tool declares, and names with marks, quotes or spaces
    "qwen_xml": {"rlla": 49, "apibank": 112, "bfcl": 11},
    "glm": {"rlla": 50, "apibank": 112, "bfcl": 11},
    "minimax": {"rlla": 57, "apibank": 112, "bfcl": 11},
    "muse": {"rlla": 110, "apibank": 112, "bfcl": 11},
    "pythonic": {"rlla": 11},  # names with brackets or commas
    "lfm2": {"rlla": 11},  # the same
    "gpt_oss": {"rlla": 80},  # names with spaces
    # names of parameters with quotes
    **{name: {"rlla": 9} for name in ("deepseek_v3_2", "deepseek_v4", "deepseek_v4_1")},
}
"""How many of the answers a dialect cannot express; docs/dialects.md says why."""


def tools_of(system):
    """The tools that a system message of RLLA or API-Bank lists."""
    return [{"name": each.name, "parameters": each.parameters} for each in listed_tools(system)]


@pytest.fixture(scope="module")
def rlla_replies(data_folder):
    table = pq.read_table(data_folder / "rlla_test.parquet").to_pylist()
    rows = [(row["prompt"][0]["content"], row["reward_model"]["ground_truth"]) for row in table]
    rows += [
        (row["instruction"], row["output"])
        for row in json.loads((data_folder / "rlla_sft.json").read_text())
    ]
    rlla = get_dialect("rlla")
    replies = [(rlla.parse(text), tools_of(system)) for system, text in rows]
    return [(reply.thought, reply.calls, reply.response, tools) for reply, tools in replies]


@pytest.fixture(scope="module")
def apibank_replies(data_folder):
    found = []
    for level in (1, 2, 3):
        path = data_folder / "apibank" / f"level-{level}-api_processed.json"
        for row in json.loads(path.read_text()):
            answer = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
            calls = tuple(ToolCall(call["name"], call["parameters"]) for call in answer)
            found.append((None, calls, None, tools_of(row["system"])))
    return found


@pytest.fixture(scope="module")
def bfcl_replies():
    """The gold calls of BFCL v4: 2,501 single answers, and 2,824 of 2,924 turns; the others have
    arguments without names, which are no calls in JSON.
    """
    package = importlib.util.find_spec("bfcl_eval")
    if package is None or not package.submodule_search_locations:
        pytest.skip("bfcl-eval is not installed: pip install --no-deps bfcl-eval==2026.3.23")
    folder = Path(package.submodule_search_locations[0]) / "data"
    listed = [
        json.loads(line)
        for path in (folder / "multi_turn_func_doc").glob("*.json")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    single, turns, unnamed = [], [], 0
    for path in sorted((folder / "possible_answer").glob("*.json")):
        if "memory" in path.name or "web_search" in path.name:
            continue  # answers in words
        questions = (folder / path.name).read_text(encoding="utf-8").splitlines()
        asked = {each["id"]: each for each in map(json.loads, questions)}
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            answer = row["ground_truth"]
            if "multi_turn" not in path.name:
                calls = tuple(_first_acceptable(call) for call in answer)
                single.append((calls, asked[row["id"]]["function"]))
                continue
            for turn in filter(None, answer):
                reply = get_dialect("pythonic").parse(f"[{', '.join(turn)}]")
                if reply.status is ParseStatus.OK:
                    turns.append((reply.calls, listed))
                else:
                    unnamed += 1
    assert (len(single), len(turns), unnamed) == (2501, 2824, 100)
    return [(None, calls, None, tools) for calls, tools in single + turns]


def _first_acceptable(call):
    [(name, parameters)] = call.items()
    return ToolCall(name, {key: _settle(values[0]) for key, values in parameters.items() if values})


def _settle(value):
    """A nested object lists its acceptable values too."""
    if isinstance(value, dict):
        return {k: _settle(v[0] if isinstance(v, list) and v else v) for k, v in value.items()}
    return [_settle(item) for item in value] if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.parametrize("name", dialect_names())
def test_gold_calls_of_bfcl_are_read_back(name, bfcl_replies):
    assert _read_back(name, bfcl_replies) == CANNOT.get(name, {}).get("bfcl", 0)


@pytest.mark.parametrize("name", dialect_names())
def test_real_answers_are_read_back(name, rlla_replies, apibank_replies):
    assert (len(rlla_replies), len(apibank_replies)) == (480, 597)
    cannot = CANNOT.get(name, {})
    assert _read_back(name, rlla_replies) == cannot.get("rlla", 0)
    assert _read_back(name, apibank_replies) == cannot.get("apibank", 0)


WITHOUT_TOOLS = {
    "qwen_xml": (86, 120, 449),
    "glm": (87, 120, 449),
    "minimax": (94, 120, 449),
    "muse": (137, 120, 449),
}
"""The same where no tool is known, so that a string that is JSON reads as that value."""


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT_TOOLS)
def test_what_the_tools_are_needed_for(name, rlla_replies, apibank_replies, bfcl_replies):
    groups = (rlla_replies, apibank_replies, bfcl_replies)
    bare = [[(*reply[:3], None) for reply in replies] for replies in groups]
    assert tuple(_read_back(name, replies) for replies in bare) == WITHOUT_TOOLS[name]


def _read_back(name, replies):
    """How many replies the dialect cannot express; all others must come back as they were."""
    dialect, cannot = get_dialect(name), 0
    for thought, calls, response, tools in replies:
        try:
            text = dialect.render(thought=thought, calls=calls, response=response, tools=tools)
        except InputError:
            cannot += 1
            continue
        reply = dialect.parse(text, tools)
        assert (reply.thought, reply.calls, reply.response) == (thought, calls, response)
        assert reply.well_formed and reply.calls_intact
    return cannot
