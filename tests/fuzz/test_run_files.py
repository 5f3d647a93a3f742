"""Files of a run that are damaged or hostile: pages that say what is missing, or one line."""

import pytest

pytestmark = pytest.mark.slow

ANY = [
    *(b"", b"\0" * 40, b"[", b"3\n", b"{}\n", b"null\n", b'{"step": "x"}\n', b"\xff\xfe\n"),
    *(b'{"step": 1e400}\n', b'{"step": NaN}\n', b'{"step": [1]}\n', b"[" * 5000 + b"\n"),
    *(b'{"step": 1, "seconds": "x", "name": 3}\n', b'{"step": true, "reward/format": "x"}\n'),
    *(b'{"step": 1, "exact_match": "x"}\n', b'{"\\ud800": 1, "step": 1}\n', b"9" * 5000 + b"\n"),
    *(b'{"before": 3, "after": [1]}', b'{"versions": 3, "machine": [1], "resumed": 3}'),
    b'{"step": 1, "</script><script>alert(1)": 3, "reward/format": null, "entropy": {}}\n',
]
ROLLOUTS = [
    *(b'{"response": 3}\n', b'{"response": "x", "ids": 3}\n', b'{"response": "x", "ids": ["a"]}\n'),
    b'{"response": "x", "ids": [1e9, 99999999999999999999999]}\n',
    b'{"response": "x", "ids": [99999999999999999999999]}\n',
    b'{"response": "x", "ids": [-1]}\n',
    b'{"response": "x", "ids": [true, null]}\n',
    b'{"response": "x", "ids": [1], "regions": 3, "weights": 3}\n',
    b'{"response": "x", "ids": [1], "regions": ["name"], "weights": ["a"]}\n',
    b'{"response": "x", "ids": [1], "regions": ["name"], "weights": [NaN]}\n',
    b'{"response": "x", "ids": [1], "regions": ["name"], "weights": [1], "ground_truth": 3}\n',
    b'{"response": "x", "ids": [1], "regions": [3], "weights": [1e400], "tokens": 3}\n',
    b'{"response": "x", "tokens": [1], "regions": true, "weights": true, "entropies": 5}\n',
    b'{"response": "\\ud800", "identity": "\\ud800", "reward": {"calls": {"\\ud800": 1}}}\n',
    b'{"response": "\\u001b[2J</script>", "identity": "../../x", "step": {"a": 1}}\n',
]


@pytest.fixture(params=["metrics.jsonl", "environment.json", "summary.json", "warnings.jsonl"])
def name(request):
    return request.param


def test_a_page_is_made_of_what_can_be_read(name, run, outside, says_one_line):
    for data in ANY:
        (run / name).write_bytes(data)
        says_one_line("report", str(run), codes=(0,))
        says_one_line("inspect", str(run), "--scheme", "rest")
        page = (run / "report.html").read_text(encoding="utf-8")
        assert "</script><script>alert" not in page


@pytest.mark.parametrize("name", ["evaluation/curve.jsonl", "evaluation/before.json"])
def test_evaluations_that_cannot_be_read_are_named(name, run, outside, says_one_line):
    (run / "evaluation").mkdir()
    for data in ANY:
        (run / name).write_bytes(data)
        says_one_line("report", str(run), codes=(0,))
        says_one_line("evaluate", str(run), "--checkpoint", "best", codes=(2,))


@pytest.mark.parametrize(
    "name", ["rollouts/step-000000.jsonl", "evaluation/after.jsonl", "evaluation/x/failures.jsonl"]
)
def test_rollouts_are_shown_or_named(name, run, outside, says_one_line):
    path = run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (run / "rollouts" / "step-000001.jsonl").unlink()
    for data in (*ANY, *ROLLOUTS):
        path.write_bytes(data)
        says_one_line("report", str(run), codes=(0,))
        page = (run / "report.html").read_text(encoding="utf-8")
        assert "\x1b" not in page
        if name.startswith("rollouts"):
            for words in ([], ["--row", "0"], ["--scheme", "uniform"], ["--step", "0"]):
                found = says_one_line("inspect", str(run), *words)
                assert "\x1b]" not in found.output


def test_training_goes_on_or_names_the_file(name, run, outside, says_one_line):
    """Everything that is read before the training itself, which is left out."""
    for odd in ("step-x.jsonl", "step-\u00b2.jsonl"):
        (run / "rollouts" / odd).write_text("")
    for data in ANY[5:] if name != "summary.json" else ():
        (run / name).write_bytes(data)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("toolrest.engines.trl.launch.train_with_trl", lambda *arguments: 0)
            patch.setattr("toolrest.engines.trl.job.load_policy", lambda recipe, **more: None)
            patch.setattr("toolrest.engines.trl.job.shares_prefix", lambda *arguments: True)
            says_one_line("train", "--resume", str(run), "--quiet", codes=(2, 130))
