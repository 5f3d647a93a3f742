"""Every real answer is written and read back in every dialect that can express it."""

import importlib.util
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from toolrest.dialects import ParseStatus, ToolCall, dialect_names, get_dialect
from toolrest.errors import InputError

CANNOT = {
    "qwen_xml": {"rlla": 83, "apibank": 120, "bfcl": 408},  # strings that read as JSON
    "pythonic": {"rlla": 11},  # names with brackets or commas
    "gpt_oss": {"rlla": 80},  # names with spaces
    # names of parameters with quotes
    **{name: {"rlla": 9} for name in ("deepseek_v3_2", "deepseek_v4", "deepseek_v4_1")},
}
"""How many of the answers a dialect cannot express; docs/dialects.md says why."""


@pytest.fixture(scope="module")
def rlla_replies(data_folder):
    rows = pq.read_table(data_folder / "rlla_test.parquet").column("reward_model").to_pylist()
    texts = [row["ground_truth"] for row in rows]
    texts += [row["output"] for row in json.loads((data_folder / "rlla_sft.json").read_text())]
    rlla = get_dialect("rlla")
    replies = [rlla.parse(text) for text in texts]
    return [(reply.thought, reply.calls, reply.response) for reply in replies]


@pytest.fixture(scope="module")
def apibank_replies(data_folder):
    found = []
    for level in (1, 2, 3):
        path = data_folder / "apibank" / f"level-{level}-api_processed.json"
        for row in json.loads(path.read_text()):
            answer = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
            calls = tuple(ToolCall(call["name"], call["parameters"]) for call in answer)
            found.append((None, calls, None))
    return found


@pytest.fixture(scope="module")
def bfcl_replies():
    """The gold calls of BFCL v4: 2,501 single answers, and 2,824 of 2,924 turns; the others have
    arguments without names, which are no calls in JSON.
    """
    package = importlib.util.find_spec("bfcl_eval")
    if package is None or not package.submodule_search_locations:
        pytest.skip("bfcl-eval is not installed: pip install --no-deps bfcl-eval==2026.3.23")
    folder = Path(package.submodule_search_locations[0]) / "data" / "possible_answer"
    single, turns, unnamed = [], [], 0
    for path in sorted(folder.glob("*.json")):
        if "memory" in path.name or "web_search" in path.name:
            continue  # answers in words
        for line in path.read_text(encoding="utf-8").splitlines():
            answer = json.loads(line)["ground_truth"]
            if "multi_turn" not in path.name:
                single.append(tuple(_first_acceptable(call) for call in answer))
                continue
            for turn in filter(None, answer):
                reply = get_dialect("pythonic").parse(f"[{', '.join(turn)}]")
                if reply.status is ParseStatus.OK:
                    turns.append(reply.calls)
                else:
                    unnamed += 1
    assert (len(single), len(turns), unnamed) == (2501, 2824, 100)
    return [(None, calls, None) for calls in single + turns]


def _first_acceptable(call):
    [(name, parameters)] = call.items()
    return ToolCall(name, {key: _settle(values[0]) for key, values in parameters.items() if values})


def _settle(value):
    """A nested object lists its acceptable values too."""
    if isinstance(value, dict):
        return {k: _settle(v[0] if isinstance(v, list) and v else v) for k, v in value.items()}
    return [_settle(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", dialect_names())
def test_gold_calls_of_bfcl_are_read_back(name, bfcl_replies):
    assert _read_back(name, bfcl_replies) == CANNOT.get(name, {}).get("bfcl", 0)


@pytest.mark.parametrize("name", dialect_names())
def test_real_answers_are_read_back(name, rlla_replies, apibank_replies):
    assert (len(rlla_replies), len(apibank_replies)) == (480, 597)
    cannot = CANNOT.get(name, {})
    assert _read_back(name, rlla_replies) == cannot.get("rlla", 0)
    assert _read_back(name, apibank_replies) == cannot.get("apibank", 0)


def _read_back(name, replies):
    """How many replies the dialect cannot express; all others must come back as they were."""
    dialect, cannot = get_dialect(name), 0
    for thought, calls, response in replies:
        try:
            text = dialect.render(thought=thought, calls=calls, response=response)
        except InputError:
            cannot += 1
            continue
        reply = dialect.parse(text)
        assert (reply.thought, reply.calls, reply.response) == (thought, calls, response)
        assert reply.well_formed and reply.calls_intact
    return cannot
