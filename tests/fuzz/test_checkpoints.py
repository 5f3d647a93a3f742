"""Checkpoints that are damaged or made to do harm: one line, and nothing run or written outside.

    TOOLREST_FUZZ=all pytest tests/fuzz/test_checkpoints.py

takes every damage of every file; without it, one or two of each.
"""

import json
import os
import pickle
import random
import shutil
import struct

import pytest
import torch

pytestmark = pytest.mark.slow

EVALUATE = ("--on", "world", "--limit", "1", "--max-tokens", "4", "--quiet")
DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "noise": lambda data: random.Random(0).randbytes(len(data)),
    "a number": lambda data: b"3",
    "a list": lambda data: b'[1, "a"]',
    "other kinds": lambda data: json.dumps(
        {
            key: {"y": 1} if isinstance(value, list) else ["x"]
            for key, value in json.loads(data).items()
        }
    ).encode(),
}
READ_ON_RESUME = ("optimizer.pt", "rng_state.pth", "scheduler.pt", "model.safetensors")
ALL = os.environ.get("TOOLREST_FUZZ") == "all"
"""Whether every case is asked for."""


@pytest.fixture
def checkpoint(run):
    return run / "checkpoints" / "checkpoint-1"


SOME = [("optimizer.pt", "cut"), ("rng_state.pth", "noise"), ("scheduler.pt", "empty")]
EVERY = [(name, damage) for name in READ_ON_RESUME for damage in ("empty", "cut", "noise")]


@pytest.mark.parametrize(("name", "damage"), EVERY if ALL else SOME)
def test_training_does_not_go_on_from_damaged_files(
    name, damage, run, checkpoint, refit, says_one_line, outside
):
    (checkpoint / name).write_bytes(DAMAGE[damage]((checkpoint / name).read_bytes()))
    refit(checkpoint)
    found = says_one_line("train", "--resume", str(run), "--quiet", codes=(2,))
    assert "the checkpoint cannot be read" in found.stderr
    assert "weights_only" not in found.stderr


@pytest.mark.parametrize("damage", list(DAMAGE) if ALL else ["cut", "other kinds"])
def test_training_does_not_go_on_from_a_damaged_state(
    damage, run, checkpoint, refit, says_one_line, outside
):
    path = checkpoint / "trainer_state.json"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    refit(checkpoint)
    found = says_one_line("train", "--resume", str(run), "--quiet", codes=(2,))
    assert "the checkpoint cannot be read" in found.stderr


def test_a_checkpoint_that_is_cut_off_is_passed_over(run, checkpoint, says_one_line, outside):
    os.truncate(checkpoint / "optimizer.pt", 100)
    says_one_line("train", "--resume", str(run), "--quiet", codes=(0,))
    assert (run / "summary.json").is_file()


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_an_evaluation_of_damaged_files_ends_with_a_line(
    damage, run, checkpoint, refit, says_one_line, outside
):
    names = [path.name for path in checkpoint.iterdir()]
    for name in sorted(set(names) - {"toolrest_state.json"}):
        whole = (checkpoint / name).read_bytes()
        if damage in ("empty", "cut", "noise") or name.endswith(".json"):
            (checkpoint / name).write_bytes(DAMAGE[damage](whole))
            refit(checkpoint)
            says_one_line("evaluate", str(run), *EVALUATE)
            says_one_line("inspect", str(run))
            (checkpoint / name).write_bytes(whole)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


FEW = [("optimizer.pt", "zip"), ("rng_state.pth", "plain"), ("scheduler.pt", "zip")]
BOMBS = [(name, kind) for name in READ_ON_RESUME[:3] for kind in ("zip", "plain")]


@pytest.mark.parametrize(("name", "kind"), BOMBS if ALL else FEW)
def test_a_pickle_that_runs_code_is_refused(
    name, kind, tmp_path, run, checkpoint, refit, says_one_line, outside
):
    bomb = Bomb(tmp_path / "exploded")
    if kind == "zip":
        torch.save({"state": bomb}, checkpoint / name)
    else:
        (checkpoint / name).write_bytes(pickle.dumps(bomb))
    refit(checkpoint)
    found = says_one_line("train", "--resume", str(run), "--quiet", codes=(2,))
    assert "it holds what runs code" in found.stderr
    assert not (tmp_path / "exploded").exists()


@pytest.mark.slow
@pytest.mark.parametrize("bomb", [True, False])
def test_a_file_that_this_run_has_no_use_for_ends_in_a_line(
    bomb, tmp_path, run, checkpoint, refit, says_one_line, outside
):
    state = {"scale": Bomb(tmp_path / "exploded") if bomb else 1.0}
    torch.save(state, checkpoint / "scaler.pt")
    refit(checkpoint)
    found = says_one_line("train", "--resume", str(run), "--quiet", codes=(2,))
    assert "the checkpoint cannot be read" in found.stderr
    assert not (tmp_path / "exploded").exists()


def test_the_pickle_that_transformers_writes_is_not_read(
    tmp_path, run, checkpoint, refit, says_one_line, outside
):
    (checkpoint / "training_args.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    refit(checkpoint)
    says_one_line("evaluate", str(run), *EVALUATE, codes=(0,))
    says_one_line("train", "--resume", str(run), "--quiet", codes=(0,))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.bin"])
def test_pickled_weights_are_refused(
    name, tmp_path, run, checkpoint, refit, says_one_line, outside
):
    (checkpoint / "model.safetensors").unlink()
    torch.save({"a": Bomb(tmp_path / "exploded")}, checkpoint / name)
    refit(checkpoint)
    for words in (("train", "--resume", str(run), "--quiet"), ("evaluate", str(run), *EVALUATE)):
        found = says_one_line(*words, codes=(2,))
        assert "pickled weights" in found.stderr or "no .safetensors" in found.stderr
    assert not (tmp_path / "exploded").exists()


HEADERS = (
    b"{}",
    b"[" * 500,
    b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}',
    b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    b'{"model.embed_tokens.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
)


@pytest.mark.parametrize("header", HEADERS)
def test_weights_with_another_header_are_refused(
    header, run, checkpoint, refit, says_one_line, outside
):
    weights = struct.pack("<Q", len(header)) + header + bytes(4)
    (checkpoint / "model.safetensors").write_bytes(weights)
    refit(checkpoint)
    says_one_line("evaluate", str(run), *EVALUATE, codes=(2,))
    if ALL or b'"a"' in header:
        says_one_line("train", "--resume", str(run), "--quiet", codes=(2,))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_checkpoint_is_not_run(
    file, tmp_path, run, checkpoint, refit, says_one_line, outside
):
    values = json.loads((checkpoint / file).read_text())
    values |= {
        "auto_map": {
            "AutoConfig": "evil.C",
            "AutoModelForCausalLM": "evil.M",
            "AutoTokenizer": ["evil.T", None],
        },
        "tokenizer_class": "Evil",
    }
    (checkpoint / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'exploded')!r})\n")
    for kind in (values.get("model_type"), "evil"):
        (checkpoint / file).write_text(json.dumps(values | {"model_type": kind}))
        refit(checkpoint)
        says_one_line("evaluate", str(run), *EVALUATE)
        assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("base", ["/etc", "../../../outside", 3, "", ["x"], None])
def test_adapters_of_another_place_are_one_line(
    base, run, checkpoint, refit, says_one_line, outside
):
    config = {"base_model_name_or_path": base, "peft_type": "LORA"}
    (checkpoint / "adapter_config.json").write_text(json.dumps(config))
    refit(checkpoint)
    says_one_line("evaluate", str(run), *EVALUATE, codes=(2,))


def test_links_out_of_a_run_are_refused(run, outside, says_one_line):
    for name in ("metrics.jsonl", "evaluation", "checkpoints/checkpoint-1/x", "rollouts/y.part"):
        link = run / name
        kept = run.parent / "kept"
        if link.exists():
            link.rename(kept)
        link.symlink_to(outside / "kept.txt" if "." in link.name else outside)
        found = says_one_line("train", "--resume", str(run), "--quiet", codes=(2,))
        assert "leads out of the run's folder" in found.stderr
        if name == "evaluation":
            found = says_one_line("evaluate", str(run), *EVALUATE, codes=(2,))
            assert "leads out of the run's folder" in found.stderr
        says_one_line("report", str(run))
        link.unlink()
        if kept.exists():
            kept.rename(link)


def test_a_page_is_not_written_through_a_link(run, outside, says_one_line):
    for name in ("report.html", "report.html.part"):
        (run / name).symlink_to(outside / "kept.txt")
    says_one_line("report", str(run), codes=(0,))
    assert not (run / "report.html").is_symlink()
    shutil.rmtree(run / "rollouts")
    says_one_line("report", str(run), codes=(0,))
