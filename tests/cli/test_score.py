import errno
import json
import os

import pytest
import typer
from typer.testing import CliRunner

from toolrest.cli.errors import one_line_errors
from toolrest.cli.main import app
from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.engines.common.reward import ToolReward

TRUTH = '<tool_call>\n{"name": "f", "parameters": {"x": 1, "y": 2}}\n</tool_call>'
HALF = '<tool_call>\n{"name": "f", "parameters": {"x": 1, "y": 3}}\n</tool_call>'


@pytest.fixture
def rollouts(tmp_path):
    path = tmp_path / "rollouts.jsonl"
    rows = [
        {"response": text, "ground_truth": TRUTH, "identity": text[:3]} for text in (TRUTH, HALF)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return path


def score(*arguments):
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


def means(result):
    cells = [line.split("│") for line in result.stdout.splitlines() if line.startswith("│")]
    return {name.strip(): float(value) for _, name, value, _ in cells}


def test_breakdown_and_summary(rollouts, tmp_path):
    out = tmp_path / "scores.jsonl"
    result = score(rollouts, "--output", out)
    assert result.exit_code == 0, result.output
    # HALF: names 1, parameters 1, values 1 of 2: S_acc = (1 + 1 + 1) / (1 + 1 + 2) = 0.75
    assert means(result)["correctness"] == pytest.approx((1 + 0.75) / 2)
    # constant ranges: format 1 each; correctness 3 and -3 + 6 * 0.75 = 1.5
    assert means(result)["reward"] == pytest.approx(1 + (3 + 1.5) / 2)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["row"], row["exact"], row["total"]) for row in rows] == [
        (0, True, 4),
        (1, False, 2.5),
    ]


def test_kinds_are_weighed(rollouts, tmp_path):
    out = tmp_path / "scores.jsonl"

    def correctness(*kinds):
        options = [word for kind in kinds for word in ("--reward", kind)]
        assert score(rollouts, *options, "--output", out).exit_code == 0
        return [json.loads(line)["correctness"] for line in out.read_text().splitlines()]

    assert correctness("exact") == [1, 0]
    # (1 * 0.75 + 3 * 0) / 4
    assert correctness("partial=1", "exact=3") == [1, 0.1875]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it holds no row"),
        ("nonsense", "row 0: not a JSON object"),
        ("[" * 100_000, "row 0: not a JSON object"),
        ("[1]", "row 0: not a JSON object but a list"),
        ('{"response": "a"}', "row 0: it needs a string `ground_truth`; found ['response']"),
        ('\n\n{"response": "a", "ground_truth": "b"}\n\n[2]\n', "row 1: not a JSON object"),
        ('{"response": 1, "ground_truth": "a"}', "needs a string `response`; it is a number"),
    ],
)
def test_wrong_rows_are_one_line(tmp_path, text, message):
    path = tmp_path / "r.jsonl"
    path.write_text(text)
    result = score(path)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--reward", "prtial"), "did you mean 'partial'"),
        (("--reward", "exact=x"), "'x' is no number"),
        (("--reward", "exact=0"), "sum to 0"),
        (("--reward", "exact=-1"), "it must be 0 or more"),
        (("--reward", "exact=nan"), "it must be 0 or more"),
        (("--dialect", "hermess"), "did you mean 'hermes'"),
        (("--output", "/nowhere/x"), "cannot be written"),
    ],
)
def test_wrong_options_are_one_line(rollouts, arguments, message):
    result = score(rollouts, *arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr


def test_the_rollouts_are_not_overwritten(rollouts):
    before = rollouts.read_text()
    assert score(rollouts, "--output", rollouts).exit_code == 2
    assert rollouts.read_text() == before


def test_what_scored_which_file_is_said(rollouts):
    """The same words for the same scores; another option or file is seen."""
    import hashlib

    digest = hashlib.sha256(rollouts.read_bytes()).hexdigest()
    output = score(rollouts, "--lenient-types").stdout
    assert f"of sha256    {digest}" in output
    assert "scored by    toolrest " in output and "lenient_types True" in output
    assert "lenient_types False" in score(rollouts).stdout


BROKEN = {
    "no row": "\n\n",
    "not JSON": '{"response": "a", "ground_truth": "b"}\n{',
    "no ground truth": '{"response": "a", "ground_truth": "b"}\n{"response": "a"}\n',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("before", [None, "as it was\n"])
def test_an_error_leaves_no_part_of_the_output(tmp_path, text, before):
    path, out = tmp_path / "r.jsonl", tmp_path / "scores.jsonl"
    path.write_text(text)
    if before is not None:
        out.write_text(before)
    names = sorted(tmp_path.iterdir())
    assert score(path, "--output", out).exit_code == 2
    assert sorted(tmp_path.iterdir()) == names
    assert before is None or out.read_text() == before


def test_a_reason_without_an_error_number_is_said(rollouts, monkeypatch):
    def refuse(path):
        raise OSError("the archive ends early")
        yield

    monkeypatch.setattr("toolrest.evaluate.score_file.iterate_lines", refuse)
    result = score(rollouts)
    assert result.exit_code == 2
    assert "cannot be read (the archive ends early)" in result.stderr


@pytest.mark.parametrize("commit", [None, "abc"])
def test_the_commit_is_said_where_there_is_one(rollouts, monkeypatch, commit):
    made = {"versions": {"toolrest": "1.2"}, "commit": commit}
    monkeypatch.setattr("toolrest.runs.environment.describe_environment", lambda seed: made)
    shown = score(rollouts).stdout
    assert f"scored by    toolrest 1.2{'' if commit is None else ' (abc)'}: dialect" in shown
    assert "None" not in shown


@pytest.mark.parametrize("added", [{}, {"reward": {"total": 1.0}}, {"step": 3}])
def test_rewards_of_training_are_told_from_those_that_are_shown(tmp_path, added):
    path = tmp_path / "r.jsonl"
    row = {"response": TRUTH, "ground_truth": TRUTH}
    words = "those of training, by its own schedule"
    for rows in ([row | added], [row | {"reward": {"total": 1.0}, "step": 3}]):
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
        assert (words in score(path).stdout) == (len(rows[0]) == 4)


def test_a_full_disk_is_a_line(rollouts):
    result = score(rollouts, "--output", "/dev/full")
    assert result.exit_code == 2
    assert result.stderr == "toolrest: /dev/full: cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x"),
        OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
        OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "x"),
        RuntimeError("Error while serializing: I/O error: File too large (os error 27)"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_takes_no_more_is_a_line(error, capsys):
    """Whoever writes, and in whatever error."""
    with pytest.raises(typer.Exit) as left, one_line_errors():
        raise error
    assert left.value.exit_code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "make room" in said


@pytest.mark.parametrize("error", [OSError(errno.EINVAL, "x"), RuntimeError("x"), KeyError("x")])
def test_other_errors_are_not_hidden(error):
    with pytest.raises(type(error)), one_line_errors():
        raise error


def test_sampled_and_greedy_are_kept_apart(tmp_path):
    good = f"<think> t </think>\n{TRUTH}"
    rows = [
        {"response": text, "ground_truth": good, "decoding": decoding}
        for text, decoding in ((good, "greedy"), (good, "greedy"), ("no", "sampled"))
    ]
    path = tmp_path / "after.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = score(path, "--output", tmp_path / "out.jsonl").stdout
    assert "n = 2 greedy, 1 sampled" in shown
    (line,) = (line for line in shown.splitlines() if "│ reward " in line)
    greedy, sampled = (float(cell) for cell in line.split("│")[2:4])
    assert greedy == 4 and sampled < 0
    kept = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["decoding"] for row in kept] == ["greedy", "greedy", "sampled"]


@pytest.mark.parametrize("decodings", [(None,), ("mean",), (None, "mean"), ("mean", None, 7, "")])
def test_each_way_of_decoding_has_one_heading_and_one_cell(tmp_path, decodings):
    rows = [
        {"response": TRUTH, "ground_truth": TRUTH} | ({} if each is None else {"decoding": each})
        for each in decodings
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = score(path).stdout.splitlines()
    names = {each if isinstance(each, str) else "" for each in decodings}
    (heads,) = ([c.strip() for c in s.split("┃")[2:-1]] for s in shown if s.startswith("┃"))
    (cells,) = (line.split("│")[2:-1] for line in shown if "│ reward " in line)
    assert len(heads) == len(set(heads)) == len(cells) == len(names)
    first = shown[0].partition("n = ")[2]
    assert sum(int(part.split()[0]) for part in first.split(", ")) == len(rows)
    assert ("without decoding" in first) is ("" in names and len(names) > 1)


@pytest.mark.parametrize("dialect", ["hermes", "qwen_xml"])
def test_a_thought_that_the_prompt_has_begun_belongs_to_the_response(tmp_path, dialect):
    """As in training: a call before the thought ends is format 0 of 1, so 3 of 4."""
    call = get_dialect(dialect).render(
        thought=None, calls=[ToolCall("f", {"x": "a"})], response=None
    )
    rows = [
        {"response": text, "ground_truth": call, "opening": opening}
        for text, opening in (
            (call, "<think>\n"),
            (f"a\n</think>\n{call}", "<think>\n"),
            (call, ""),
        )
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert score(path, "--dialect", dialect, "--output", tmp_path / "out.jsonl").exit_code == 0
    kept = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    reward = ToolReward(dialect, "constant")
    assert [row["total"] for row in kept] == [3, 4, 4]
    for row, each in zip(rows, kept, strict=True):
        told = reward.score(row["response"], row["ground_truth"], prompt=row["opening"])
        assert told.total == each["total"]


TYPED = [
    {
        "type": "function",
        "function": {
            "name": "f",
            "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
        },
    }
]
XML = "<tool_call>\n<function=f>\n<parameter=x>\n{}\n</parameter>\n</function>\n</tool_call>"


@pytest.mark.parametrize(
    ("tools", "total"), [(TYPED, 2), (json.dumps(TYPED), 2), (None, 4), ([], 4), ([3], 4), (3, 4)]
)
def test_values_are_read_by_the_types_that_the_tools_declare(tmp_path, tools, total):
    """By hand: as texts 5.0 and 5 differ, so 2 of 3 parts are right: 1 - 3 + 6 * 2 / 3."""
    path = tmp_path / "rows.jsonl"
    row = {"response": XML.format("5.0"), "ground_truth": XML.format("5"), "tools": tools}
    path.write_text(json.dumps(row) + "\n")
    assert means(score(path, "--dialect", "qwen_xml"))["reward"] == total


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"opening": 3}, "row 0: its `opening` is a number"),
        ({"tools": "["}, "row 0: a row's tools"),
    ],
)
def test_what_a_row_was_asked_with_is_checked(tmp_path, more, message):
    path = tmp_path / "rows.jsonl"
    row = {"response": XML.format("5"), "ground_truth": XML.format("5")} | more
    path.write_text(json.dumps(row) + "\n")
    result = score(path, "--dialect", "qwen_xml")
    assert result.exit_code == 2 and message in " ".join(result.output.split())
