"""Every real answer is written and read back in every dialect that can express it."""

import json
from collections import Counter

import pyarrow.parquet as pq
import pytest

from toolrest.dialects import ToolCall, dialect_names, get_dialect
from toolrest.errors import InputError

CANNOT = {
    "qwen_xml": {"rlla": 83, "apibank": 120},  # strings that read as JSON, such as "5"
    "pythonic": {"rlla": 11},  # names with brackets or commas
    "gpt_oss": {"rlla": 80},  # names with spaces
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


@pytest.mark.parametrize("name", dialect_names())
def test_real_answers_are_read_back(name, rlla_replies, apibank_replies):
    assert (len(rlla_replies), len(apibank_replies)) == (480, 597)
    dialect, cannot = get_dialect(name), Counter()
    for source, replies in (("rlla", rlla_replies), ("apibank", apibank_replies)):
        for thought, calls, response in replies:
            try:
                text = dialect.render(thought=thought, calls=calls, response=response)
            except InputError:
                cannot[source] += 1
                continue
            reply = dialect.parse(text)
            assert (reply.thought, reply.calls, reply.response) == (thought, calls, response)
            assert reply.well_formed and reply.calls_intact
    assert cannot == CANNOT.get(name, {})
