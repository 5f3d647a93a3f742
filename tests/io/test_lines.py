"""Lines end at "\\n" alone: what JSON and CSV leave inside of a line ends none, in any file."""

import ast
import csv
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import toolrest
from toolrest.data.decompose import Rendering
from toolrest.data.prepare import prepare
from toolrest.data.rows import iterate_rows
from toolrest.data.sources import Source, iterate_samples
from toolrest.engines.common.incidents import Incident
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.common.warned import Warned
from toolrest.errors import InputError
from toolrest.evaluate.answers import AnswerStore
from toolrest.evaluate.apibank import soft_calls
from toolrest.evaluate.episode import Answer, Outcome
from toolrest.evaluate.results import compare, write_results
from toolrest.evaluate.score_file import score_file
from toolrest.io import files
from toolrest.recipe import Recipe, dump_recipe, load_recipe
from toolrest.report.inspect import Subject, look
from toolrest.report.live import best_and_worst
from toolrest.report.page_of_runs.reading import iterate_rows as page_lines
from toolrest.runs.folder import RunFolder

SOURCE = Path(toolrest.__file__).parent
SEPARATORS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\u0085"
TEXTS = st.text(alphabet=f"{SEPARATORS}a\n \ufeff", min_size=1, max_size=12).map(
    lambda text: f"x{text}y"
)
every_text = given(text=TEXTS)
quick = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
ALL = f"x{SEPARATORS}y\nz"


def fresh(tmp_path_factory):
    return tmp_path_factory.mktemp("lines")


def test_a_text_is_split_at_newlines_alone():
    assert files.split_lines("") == []
    assert files.split_lines("a\u2028b\r\nc\rd\n\n\x0c\n") == ["a\u2028b", "c\rd", "", "\x0c"]
    assert files.split_lines("a\nb") == ["a", "b"]


@quick
@every_text
def test_the_lines_of_a_file_are_those_of_its_text(text, tmp_path_factory):
    path = fresh(tmp_path_factory) / "a"
    path.write_bytes(text.encode())
    assert list(files.iterate_lines(path)) == files.split_lines(text)
    assert "".join(files.whole_lines(path)) == text[: text.rfind("\n") + 1]
    assert files.read_text(path) == text


@quick
@every_text
def test_every_file_of_a_run_is_read_as_it_was_written(text, tmp_path_factory):
    """Metrics, curve, warnings and incidents; also over a rewind."""
    run = RunFolder(fresh(tmp_path_factory))
    run.evaluation.mkdir()
    for step in (1, 2):
        files.append_json(run.metrics, {"step": step, text: text})
        files.append_json(run.curve, {"step": step, "exact_match": 0.5, "said": text})
        files.append_json(run.warnings, asdict(Warned("n", step, text, text)))
    incident = Incident(1, "reward", {"text": text})
    files.write_json(run.path / "incident.json", asdict(incident))
    assert json.loads((run.path / "incident.json").read_text("utf-8")) == asdict(incident)
    for path in (run.metrics, run.curve, run.warnings):
        missing: list[str] = []
        assert len(list(page_lines(path, missing, ""))) == 2 and not missing
    run.rewind(1)
    for path in (run.metrics, run.curve, run.warnings):
        (line,) = files.whole_lines(path)
        assert text in json.loads(line).values()


@quick
@every_text
def test_answers_scores_and_failures_are_read_as_they_were_written(text, tmp_path_factory):
    folders = [fresh(tmp_path_factory) for _ in range(2)]
    answer = Answer(text, "end", calls=[{"name": text, "arguments": {text: text}}], opening=text)
    outcome = Outcome(text, text, False, text, text, text, (text,), (1,))
    for folder in folders:
        for _ in range(2):
            with AnswerStore(folder, {"benchmark": "b", "said": text}) as store:
                assert store.get(text) in (None, answer)
                store.add(text, answer)
        write_results(folder, {}, [outcome])
    assert compare(*folders)[text]["n"] == 1
    (failure,) = files.iterate_lines(folders[0] / "failures.jsonl")
    assert json.loads(failure)["expected"] == text


@quick
@every_text
def test_rollouts_are_scored_shown_and_inspected_as_they_were_written(text, tmp_path_factory):
    folder = fresh(tmp_path_factory)
    rows = [
        {"response": text, "ground_truth": text, "reward": {"total": float(n)}} for n in range(3)
    ]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path = folder / "step-000001.jsonl"
    files.write_whole(path, "".join(lines))
    assert score_file(path, ToolReward("rlla", "constant"), folder / "out.jsonl")[""]["n"] == 3
    assert len(list(files.iterate_lines(folder / "out.jsonl"))) == 3
    assert len(best_and_worst(folder, 1)) == 2
    with pytest.raises(InputError, match="has 3 responses"):
        look(Subject(source=path, row=3))


def rlla_row(text):
    return {
        "messages": [
            {"role": "user", "content": text},
            {"role": "assistant", "content": text},
        ]
    }


def rows_of(path):
    return [row for _, row in iterate_rows(str(path))]


@quick
@given(texts=st.lists(TEXTS, min_size=2, max_size=3), end=st.sampled_from(["\n", "\r\n"]))
def test_every_kind_of_source_keeps_its_rows(texts, end, tmp_path_factory):
    """Of JSON lines, also called .json, of a list, and of CSV; with Windows' ends of lines too."""
    folder = fresh(tmp_path_factory)
    rows = [{"a": text, "b": "c"} for text in texts]
    lines = "".join(json.dumps(row, ensure_ascii=False) + end for row in rows)
    for name, text in (
        ("a.jsonl", lines),
        ("b.json", lines),
        ("c.json", json.dumps(rows, ensure_ascii=False)),
    ):
        (folder / name).write_bytes(text.encode())
        assert rows_of(folder / name) == rows
    with (folder / "d.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["a", "b"], lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    assert rows_of(folder / "d.csv") == rows


@quick
@every_text
def test_prepared_rows_are_those_of_the_source(text, tmp_path_factory):
    folder = fresh(tmp_path_factory)
    source = folder / "rows.json"
    lines = [json.dumps(rlla_row(text), ensure_ascii=False) + "\n" for _ in range(2)]
    source.write_bytes("".join(lines).encode())
    rendering = Rendering(dialect="hermes", style="template", thoughts="none", think=False)
    plain = list(iterate_samples(Source(str(source)), rendering, 0))
    made = prepare([Source(str(source))], rendering, folder / "p.parquet", 0)
    read = list(iterate_samples(Source(str(folder / "p.parquet")), rendering, 0))
    assert made["samples"] == len(plain) == len(read) == 2
    assert [row.prompt for row in plain] == [row.prompt for row in read]
    assert [row.ground_truth for row in plain] == [row.ground_truth for row in read]


@quick
@every_text
def test_a_recipe_is_read_as_it_was_written(text, tmp_path_factory):
    path = fresh(tmp_path_factory) / "recipe.yaml"
    recipe = Recipe().model_copy(
        update={"data": Recipe().data.model_copy(update={"template_options": {"a": text}})}
    )
    files.write_whole(path, dump_recipe(recipe))
    assert load_recipe(path, []) == recipe


def test_a_call_with_a_separator_in_a_value_is_one_call():
    """The published scoring splits at newlines."""
    call = {"name": "f", "parameters": {"a": ALL}}
    text = f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"
    assert [found.parameters for found in soft_calls(text, "f")] == [call["parameters"]]


def test_bfcl_s_files_are_read_line_by_line(tmp_path):
    from toolrest.evaluate.bfcl.worker import _lines

    (tmp_path / "a.json").write_text(json.dumps({"a": ALL}, ensure_ascii=False) + "\n", "utf-8")
    assert _lines(tmp_path / "a.json") == [{"a": ALL}]


def test_a_prompt_s_file_is_taken_as_it_is(tmp_path):
    from toolrest.report.inspect import _text

    (tmp_path / "prompt.txt").write_bytes(b"a\r\nb\rc\n")
    assert _text(tmp_path / "prompt.txt") == "a\r\nb\rc\n"


def modules():
    return sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_module_splits_otherwise(path):
    """No splitlines or readlines, and no text file that is read line by line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        assert name not in ("splitlines", "readlines"), f"{path}:{node.lineno}"
        if name == "open" and getattr(getattr(node.func, "value", None), "id", "") not in (
            "os",
            "opener",
        ):
            modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
            mode = next((m for m in modes if isinstance(m, str)), "r")
            assert "b" in mode or not set(mode) & set("r+"), f"{path}:{node.lineno}"
