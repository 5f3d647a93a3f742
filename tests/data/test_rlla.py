import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from toolrest.core.dialects import get_dialect
from toolrest.core.regions import Region, label_tokens
from toolrest.core.vocabulary import Vocabulary
from toolrest.data.decompose import Rendering
from toolrest.data.prompts import fit_prompts, hold_out, render_prompt
from toolrest.data.sample import Sample
from toolrest.data.sources import Source, iterate_samples
from toolrest.engines.common.reward import ToolReward
from toolrest.errors import InputError

TRUTH = '<think> t </think>\n<tool_call>\n{"name": "a", "parameters": {}}\n</tool_call>'


def load_rlla(path):
    return list(iterate_samples(Source(str(path)), Rendering(), seed=0))


def row(truth=TRUTH, content="hi"):
    return {
        "prompt": [{"role": "user", "content": content}],
        "reward_model": {"ground_truth": truth, "style": "rule"},
    }


def parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_a_parquet_of_the_published_layout(tmp_path):
    samples = load_rlla(parquet(tmp_path / "a.parquet", [row(), row(content="ho")]))
    assert samples == [
        Sample(
            ({"role": "user", "content": text},), TRUTH, "a.parquet", f"{n}", group=f"a.parquet:{n}"
        )
        for n, text in enumerate(("hi", "ho"))
    ]


def test_a_json_loses_its_thoughts(tmp_path):
    path = tmp_path / "a.json"
    output = TRUTH.replace(" t ", " I write <tool_call> now ")
    path.write_text(json.dumps([{"instruction": "s", "input": "u", "output": output}]))
    (sample,) = load_rlla(path)
    assert [m["role"] for m in sample.prompt] == ["system", "user"]
    assert "now" not in sample.ground_truth
    assert ToolReward().score(output, sample.ground_truth).exact


def demonstration(tmp_path, thought, rendering):
    path = tmp_path / "a.json"
    output = TRUTH.replace(" t ", thought)
    path.write_text(json.dumps([{"instruction": "s", "input": "u", "output": output}]))
    (sample,) = iterate_samples(Source(str(path)), rendering, seed=0)
    return sample.demonstration


def test_an_outputs_thought_is_shown_in_other_dialects_too(tmp_path):
    hermes = Rendering("hermes", "plain")
    call = '<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>'
    assert demonstration(tmp_path, " I see. ", hermes) == f"<think>\nI see.\n</think>\n\n{call}"
    assert demonstration(tmp_path, " I see. ", Rendering("hermes", "plain", think=False)) == call


def test_a_demonstrations_thought_is_cut_at_a_sentence(tmp_path):
    thought = " First. Then more! And more"
    short = demonstration(tmp_path, thought, Rendering(thought_sentences=2))
    assert short.startswith("<think> First. Then more! </think>")
    assert short.endswith('{"name": "a", "parameters": {}}\n</tool_call>')


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([{"question": "x"}], "its rows have question, which is none of the formats rlla, "),
        ([row(), row(truth=None)], "row 1: there is no ground_truth"),
        ([row(), row(truth="<think> cut")], r"row 1: the ground truth does not parse \(unclosed\)"),
        ([row(), row(), row(content=None)], "row 2: there is no prompt's content"),
        (
            [{"prompt": "text", "reward_model": {"ground_truth": TRUTH}}],
            "row 0: prompt is not a list of objects",
        ),
        (
            [row() | {"prompt": [{"role": "user", "content": "", "tool_calls": [{"a": 1}]}]}],
            "row 0: prompt's messages have tool_calls",
        ),
    ],
)
def test_a_broken_parquet_is_named(tmp_path, rows, text):
    with pytest.raises(InputError, match=text):
        load_rlla(parquet(tmp_path / "a.parquet", rows))


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        load_rlla(tmp_path / "none.parquet")


def test_prompts_that_do_not_fit_are_named(embedded_tokenizer):
    short = Sample(({"role": "user", "content": "hi"},), TRUTH, "f", "0")
    long = Sample(({"role": "user", "content": "hi " * 500},), TRUTH, "f", "1")
    lengths = [len(render_prompt(each, embedded_tokenizer)) for each in (short, long)]
    fit = fit_prompts([short, long], lengths, 100)
    assert fit.kept == [0]
    assert [identity for identity, _ in fit.dropped] == ["1"]
    assert fit.dropped[0][1] > 500
    with pytest.raises(InputError, match="every prompt is longer"):
        fit_prompts([long], lengths[1:], 100)


def test_hold_out_is_a_seeded_partition():
    samples = [Sample((), TRUTH, "f", str(index)) for index in range(20)]
    train, heldout = hold_out(samples, 0.25, seed=1)
    assert len(heldout) == 5
    assert sorted([*train, *heldout], key=lambda s: int(s.identity)) == samples
    assert hold_out(samples, 0.25, seed=1) == (train, heldout)
    assert hold_out(samples, 0.25, seed=2) != (train, heldout)
    assert hold_out(samples, 0.0, seed=1) == (samples, [])


@pytest.mark.parametrize(
    ("name", "rows", "call_only"),
    [("rlla_test.parquet", 80, 71), ("rlla_sft.json", 400, 346)],
)
def test_every_real_ground_truth(data_folder, embedded_tokenizer, name, rows, call_only):
    """Its reward is the greatest there is, and its regions hold every token."""
    samples = load_rlla(data_folder / name)
    assert len(samples) == rows
    vocabulary, dialect = Vocabulary.from_tokenizer(embedded_tokenizer), get_dialect("rlla")
    only_calls = 0
    for sample in samples:
        truth = dialect.parse(sample.ground_truth)
        only_calls += bool(truth.calls) and truth.response is None
        for schedule in ("rest", "constant", "official"):
            reward = ToolReward(schedule=schedule)
            for progress in (0.0, 0.5, 1.0):
                breakdown = reward.score(sample.ground_truth, sample.ground_truth, progress)
                assert breakdown.exact
                assert breakdown.total == pytest.approx(4.0)
        ids = torch.tensor([embedded_tokenizer(sample.ground_truth)["input_ids"]])
        labels = label_tokens(ids, torch.ones_like(ids), vocabulary, dialect)
        by_region = [ids[labels == region].numel() for region in Region]
        assert by_region[Region.OTHER] == 0
        assert sum(by_region) == ids.numel()
        assert vocabulary.text(ids[0].tolist()) == sample.ground_truth
        spans = [(s.region, sample.ground_truth[s.start : s.end]) for s in truth.spans]
        assert "".join(text for _, text in spans) == sample.ground_truth
        names = [json.loads(f'"{text}"') for region, text in spans if region is Region.NAME]
        assert names == [call.name for call in truth.calls]
        parameters = [text for region, text in spans if region is Region.PARAMETERS]
        assert [json.loads(text) for text in parameters] == [c.parameters for c in truth.calls]
    assert only_calls == call_only


def test_toolrl_s_own_files_are_read_as_docs_data_says(data_folder):
    """Both by their formats, seen from their rows; the JSON's thoughts are demonstrations."""
    rows = load_rlla(data_folder / "rlla_test.parquet")
    assert len(rows) == 80
    assert all(row.demonstration is None for row in rows)
    taught = load_rlla(data_folder / "rlla_sft.json")
    assert len(taught) == 400
    thoughts = [str(row.demonstration).split("</think>")[0] for row in taught]
    assert min(map(len, thoughts)) > len("<think>")
    for path, named in (("rlla_test.parquet", "rlla"), ("rlla_sft.json", "rlla_json")):
        source = Source(str(data_folder / path), format=named)
        assert len(list(iterate_samples(source, Rendering(), seed=0))) == len(
            rows if named == "rlla" else taught
        )
