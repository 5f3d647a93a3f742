"""Sources -> parquet and manifest; what check finds."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import pytest
from test_formats import MESSAGES, TOOLACE, XLAM

from toolrest.data.check import check
from toolrest.data.decompose import Rendering
from toolrest.data.findings import Limits
from toolrest.data.overlap import Questions
from toolrest.data.prepare import manifest_path, prepare
from toolrest.data.sources import Skipped, Source, iterate_samples
from toolrest.errors import InputError

HERMES = Rendering("hermes", "template", think=False)


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def samples(path, rendering=None, seed=0, **options):
    return list(iterate_samples(Source(str(path), **options), rendering or Rendering(), seed))


@pytest.mark.parametrize("rendering", [Rendering(), HERMES, Rendering("hermes", "plain", "all")])
def test_what_is_prepared_is_what_is_read_back(tmp_path, rendering):
    sources = [
        Source(lines(tmp_path / "t.jsonl", [TOOLACE])),
        Source(lines(tmp_path / "m.jsonl", [MESSAGES])),
        Source(lines(tmp_path / "x.jsonl", [XLAM, XLAM | {"query": "again"}]), mask=1.0),
    ]
    output = tmp_path / "out.parquet"
    manifest = prepare(sources, rendering, output, seed=3)
    made = [s for source in sources for s in iterate_samples(source, rendering, 3)]
    assert samples(output, rendering) == made
    assert manifest["samples"] == len(made) == 6
    assert json.loads(manifest_path(output).read_text()) == manifest
    assert manifest["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    first = output.read_bytes()
    prepare(sources, rendering, output, seed=3)
    assert output.read_bytes() == first


def test_the_columns_are_those_that_verl_reads(tmp_path):
    import pyarrow.parquet as pq

    output = tmp_path / "out.parquet"
    prepare([Source(lines(tmp_path / "x.jsonl", [XLAM]))], Rendering(), output, seed=0)
    (row,) = pq.read_table(output).to_pylist()
    assert [m["role"] for m in row["prompt"]] == ["system", "user"]
    assert row["reward_model"]["style"] == "rule"
    assert row["extra_info"]["index"] == 0
    assert row["data_source"] == "x.jsonl"


def test_bad_rows_are_counted_with_their_numbers(tmp_path):
    rows = [XLAM, {"query": 1, "tools": "[]", "answers": "[]"}, XLAM, XLAM | {"answers": "[]"}]
    path = lines(tmp_path / "x.jsonl", rows)
    manifest = prepare([Source(path)], Rendering(), tmp_path / "o.parquet", seed=0)
    (source,) = manifest["sources"]
    assert source["samples"] == 2
    assert source["left_out"] == {"query is a number, not a text": 1, "answers is empty": 1}
    assert source["left_out_rows"]["answers is empty"] == ["3"]
    with pytest.raises(InputError, match=r"row 1: query is a number.*prepare"):
        samples(path)


def test_take_and_share_draw_by_the_seed(tmp_path):
    path = lines(tmp_path / "x.jsonl", [XLAM | {"query": f"q{n}"} for n in range(400)])
    taken = samples(path, take=50, seed=1)
    assert len(taken) == 50
    assert taken == samples(path, take=50, seed=1) != samples(path, take=50, seed=2)
    numbers = [int(sample.identity) for sample in taken]
    assert numbers == sorted(numbers)
    assert 60 < len(samples(path, share=0.25)) < 140
    assert len(samples(path, take=1000)) == 400
    masked = samples(path, mask=0.5)
    assert 120 < sum("live_giveaways" not in s.ground_truth for s in masked) < 280


def test_bfcl_questions_find_their_answers_beside_them(tmp_path):
    question = {
        "id": "a_0",
        "question": [[{"role": "user", "content": "The area?"}]],
        "function": [{"name": "area", "parameters": {"type": "dict", "properties": {}}}],
    }
    path = lines(tmp_path / "BFCL_v4_a.json", [question])
    (tmp_path / "possible_answer").mkdir()
    answer = {"id": "a_0", "ground_truth": [{"area": {"base": [10]}}]}
    lines(tmp_path / "possible_answer" / "BFCL_v4_a.json", [answer])
    (sample,) = samples(path)
    assert '{"base": 10}' in sample.ground_truth


def test_nothing_left_or_a_bad_output_is_one_error(tmp_path):
    path = lines(tmp_path / "x.jsonl", [XLAM | {"answers": "[]"}])
    with pytest.raises(InputError, match=r"no sample is left; .*answers is empty"):
        prepare([Source(path)], Rendering(), tmp_path / "o.parquet", seed=0)
    assert [file.name for file in tmp_path.iterdir()] == ["x.jsonl"]
    with pytest.raises(InputError, match=r"must end with \.parquet"):
        prepare([Source(path)], Rendering(), tmp_path / "o.json", seed=0)
    with pytest.raises(InputError, match="cannot be written"):
        prepare(
            [Source(lines(tmp_path / "y.jsonl", [XLAM]))],
            Rendering(),
            tmp_path / "x.jsonl" / "o.parquet",
            seed=0,
        )


def test_a_file_prepared_for_another_dialect_is_refused(tmp_path):
    output = tmp_path / "out.parquet"
    prepare([Source(lines(tmp_path / "x.jsonl", [XLAM]))], HERMES, output, seed=0)
    with pytest.raises(InputError, match="prepared for dialect=hermes"):
        samples(output)


def found(tmp_path, rows, **options):
    (report,) = check([Source(lines(tmp_path / "c.jsonl", rows))], Rendering(), **options)
    return {kind: [row for row, _ in each] for kind, each in report.findings.items()}


def answers(*calls):
    return json.dumps([{"name": n, "arguments": a} for n, a in calls])


def test_check_names_each_kind_by_row(tmp_path):
    tool = "live_giveaways_by_type"
    rows = [
        XLAM,
        XLAM,
        XLAM | {"query": "one", "answers": answers(("other", {}))},
        XLAM | {"query": "two", "answers": answers((tool, {"n": "5"}))},
        XLAM | {"query": "three", "answers": answers((tool, {"type": '[{"a": 1'}))},
        XLAM | {"query": "four", "answers": "[]"},
        XLAM | {"query": "five", "answers": answers((tool, {"n": 5}), (tool, {"unknown": True}))},
        XLAM | {"query": "six", "answers": answers((tool, {"n": True}))},
    ]
    assert found(tmp_path, rows) == {
        "duplicate": ["1"],
        "unlisted tool": ["2"],
        "wrong type": ["3", "7"],
        "cut apart": ["4"],
        "unreadable": ["5"],
        "unknown parameter": ["6"],
    }


def test_check_measures_lengths(tmp_path):
    rows = [XLAM, XLAM | {"query": "much " * 100}]
    (report,) = check(
        [Source(lines(tmp_path / "c.jsonl", rows))],
        Rendering(),
        limits=Limits(lambda sample: len(sample.prompt[-1]["content"]), 200),
    )
    assert len(report.lengths) == 2
    assert [row for row, _ in report.findings["too long"]] == ["1"]


LONG = "Please tell me how the weather in the old city of Rome will be on the third of May"


def test_check_finds_overlaps_between_sources_and_with_benchmarks(tmp_path):
    one = lines(tmp_path / "a.jsonl", [XLAM | {"query": LONG}, XLAM | {"query": "Hi there"}])
    near = LONG.upper().replace("MAY", "June") + "!"
    two = lines(
        tmp_path / "b.jsonl", [XLAM | {"query": q} for q in (near, "Hi there", LONG + "?!")]
    )
    reports = check([Source(one), Source(two)], Rendering())
    assert "overlap" not in reports[0].findings
    overlaps = reports[1].findings["overlap"]
    assert [row for row, _ in overlaps] == ["0", "2"]
    assert overlaps[0][1].startswith("near to") and overlaps[1][1].startswith("equal to")
    (report,) = check(
        [Source(one)], Rendering(), limits=Limits(against=Questions([("bench 5", LONG)]))
    )
    assert report.findings["overlap"] == [("0", "equal to bench 5")]


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": ["integer", "null"]}},
    "required": ["city"],
}
NAMES = (
    (SCHEMA, {"city": "Ghent"}, {}),
    (SCHEMA, {"city": "Ghent", "days": None}, {}),
    (SCHEMA, {"days": 2}, {"missing parameter": "f: city"}),
    (SCHEMA, {"city": "a", "town": "b"}, {"unknown parameter": "f: 'town'"}),
    (
        SCHEMA,
        {"town": "b"},
        {"missing parameter": "f: city", "unknown parameter": "f: 'town'"},
    ),
    (SCHEMA | {"additionalProperties": False}, {"city": "a", "x": 1}, {"unknown parameter": None}),
    (SCHEMA | {"additionalProperties": True}, {"city": "a", "x": 1}, {}),
    (SCHEMA | {"patternProperties": {"^x": {}}}, {"city": "a", "x": 1}, {}),
    ({"anyOf": [SCHEMA, {"properties": {"place": {}}}]}, {"place": "a"}, {}),
    ({"allOf": [SCHEMA]}, {"place": "a"}, {"missing parameter": None, "unknown parameter": None}),
    ({}, {"anything": 1}, {}),
)


@pytest.mark.parametrize(("schema", "given", "kinds"), NAMES)
def test_parameters_that_a_right_call_lacks_or_that_its_tool_has_not(
    tmp_path, schema, given, kinds
):
    tools = [{"name": "f", "description": "d", "parameters": schema}]
    row = {"query": "q", "tools": json.dumps(tools), "answers": answers(("f", given))}
    (report,) = check([Source(lines(tmp_path / "c.jsonl", [row]))], Rendering())
    assert report.findings.keys() == kinds.keys()
    for kind, detail in kinds.items():
        assert detail in (None, report.findings[kind][0][1])


@pytest.mark.parametrize("rendering", [Rendering(), HERMES, Rendering("hermes", "plain")])
def test_in_a_prepared_file_is_found_what_is_found_in_its_source(tmp_path, rendering):
    rows = [
        XLAM,
        XLAM | {"query": "one", "answers": answers(("other", {}))},
        XLAM | {"query": "two", "answers": answers(("live_giveaways_by_type", {"n": "5"}))},
        XLAM | {"query": "three", "answers": answers(("live_giveaways_by_type", {"type": "[1"}))},
        XLAM | {"query": "four", "tools": "[]"},
        XLAM | {"query": "five", "answers": answers(("live_giveaways_by_type", {"n": 5}))},
    ]
    path = lines(tmp_path / "x.jsonl", rows)
    prepare([Source(path)], rendering, tmp_path / "o.parquet", seed=0)
    (before,) = check([Source(path)], rendering)
    (after,) = check([Source(str(tmp_path / "o.parquet"))], rendering)
    assert before.findings == after.findings
    assert {kind: [row for row, _ in found] for kind, found in after.findings.items()} == {
        "unlisted tool": ["1", "4"],
        "wrong type": ["2"],
        "cut apart": ["3"],
    }


def test_a_prompt_in_somebodys_own_words_lists_the_tools_that_it_names(tmp_path):
    truth = '<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call>'
    prompts = ("Call get_weather(city).", [{"role": "system", "content": "get_weather"}], "Hm?")
    rows = [{"prompt": each, "ground_truth": truth} for each in prompts]
    path = lines(tmp_path / "x.jsonl", rows)
    prepare([Source(path)], HERMES, tmp_path / "o.parquet", seed=0)
    for source in (path, str(tmp_path / "o.parquet")):
        (report,) = check([Source(source)], HERMES)
        assert report.findings == {"unlisted tool": [("2", "'get_weather'")]}


def test_the_real_files_agree_with_what_is_known_of_them(data_folder):
    """Level 2's unlisted tools, one overlap between the RLLA files, rows split at commas."""
    names = ("rlla_test.parquet", "rlla_sft.json", "apibank/level-2-api_processed.json")
    reports = check([Source(str(data_folder / name)) for name in names], Rendering())
    assert [report.rows for report in reports] == [80, 400, 67]
    rows = [
        {kind: [int(row) for row, _ in each] for kind, each in report.findings.items()}
        for report in reports
    ]
    assert rows[2]["unlisted tool"] == [6, 13, 14, 19, 25, 54]
    assert [r.get("overlap") for r in rows] == [None, [393], None]
    assert 9 in rows[0]["cut apart"]
    assert 130 in rows[1]["cut apart"]
    counts = [[len(set(r.get(kind, ()))) for r in rows] for kind in ("cut apart", "wrong type")]
    assert counts == [[5, 26, 0], [15, 61, 6]]
    assert not any("unreadable" in row for row in rows)


def test_every_real_file_goes_through_prepare_and_comes_back(data_folder, tmp_path):
    levels = [f"apibank/level-{level}-api_processed.json" for level in (1, 2, 3)]
    sources = [
        Source(str(data_folder / name)) for name in ("rlla_test.parquet", "rlla_sft.json", *levels)
    ]
    for rendering in (Rendering(), HERMES):
        output = tmp_path / "o.parquet"
        manifest = prepare(sources, rendering, output, seed=0)
        assert (
            manifest["samples"] + sum(sum(s["left_out"].values()) for s in manifest["sources"])
            == 80 + 400 + 597
        )
        assert manifest["samples"] >= (1077 if rendering.dialect == "rlla" else 1000)
        assert len(samples(output, rendering)) == manifest["samples"]


def test_skipped_rows_are_named_up_to_a_limit():
    skipped = Skipped()
    for number in range(100):
        skipped.add(str(number), "reason")
    assert skipped.count == 100
    assert len(skipped.rows["reason"]) == 20


def test_a_manifest_is_never_beside_other_rows(tmp_path, monkeypatch):
    """Killed between any two renames, there are whole rows, and their own manifest or none."""
    row = {"query": "q", "tools": "[]", "answers": "[]"}
    tool = json.dumps([{"name": "f", "description": "", "parameters": {}}])
    row |= {"tools": tool, "answers": json.dumps([{"name": "f", "arguments": {}}])}
    for name, count in (("few.jsonl", 1), ("many.jsonl", 3)):
        (tmp_path / name).write_text((json.dumps(row) + "\n") * count, encoding="utf-8")
    output = tmp_path / "p.parquet"
    rendering = Rendering(dialect="rlla", style="rlla", thoughts="none", think=True)

    def made(name):
        return prepare([Source(str(tmp_path / name))], rendering, output, 0)

    made("few.jsonl")
    real = {"replace": Path.replace, "unlink": Path.unlink}

    class Killed(BaseException):
        pass

    for moment in range(1, 8):
        steps = 0

        def step(name, path, *arguments, moment=moment, **options):
            nonlocal steps
            steps += 1
            if steps == moment:
                raise Killed
            return real[name](path, *arguments, **options)

        with monkeypatch.context() as patch:
            for name in real:
                patch.setattr(Path, name, lambda p, *a, n=name, **o: step(n, p, *a, **o))
            with suppress(Killed):
                made("many.jsonl")
        digest = hashlib.sha256(output.read_bytes()).hexdigest()
        manifest = manifest_path(output)
        if manifest.exists():
            assert json.loads(manifest.read_text(encoding="utf-8"))["sha256"] == digest
    assert made("many.jsonl")["samples"] == 3
    assert json.loads(manifest.read_text(encoding="utf-8"))["samples"] == 3


def test_two_who_prepare_one_file_do_not_mix(tmp_path):
    from toolrest.io.files import only_one

    rendering = Rendering(dialect="rlla", style="rlla", thoughts="none", think=True)
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n', encoding="utf-8")
    output = tmp_path / "p.parquet"
    with (
        only_one(tmp_path / "p.parquet.part", "x"),
        pytest.raises(InputError, match="another toolrest data prepare"),
    ):
        prepare([Source(str(tmp_path / "a.jsonl"))], rendering, output, 0)
