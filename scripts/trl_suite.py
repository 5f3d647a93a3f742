"""TRL's own tests of GRPOTrainer, with ResTTrainer in its place.

    git clone https://github.com/huggingface/trl
    python scripts/trl_suite.py trl [--folder FOLDER] [--only EXPRESSION] [--rows N]

In FOLDER it puts TRL's test files, tiny random policies and a small data set under the names that
the tests ask the hub for, and runs the tests with GRPOTrainer (`plain`), and with ResTTrainer under
the weightings `uniform` and `rest`. Nothing is taken from a hub. What passes with GRPOTrainer and
not with ResTTrainer is printed with its reason; the exit status is 1 if one of these is not a
setting that toolrest refuses (an InputError). Needs pytest, peft, jmespath (tests with tools) and
qwen_agent, which carries Qwen's vocabulary: the tests have its ids written out. docs/trl.md has the
last result.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

TESTS = ("__init__.py", "conftest.py", "testing_constants.py", "testing_utils.py")
SUITE = "test_grpo_trainer.py"
TRAINERS = ("plain", "uniform", "rest")
TEXT_ONLY = "not VLM and not vlm and not image and not liger"
"""Policies that see images have no regions, and nothing here makes tiny ones."""
PLUGIN = '''"""Puts the trainer named by --trainer where the tests import theirs from."""

from functools import partial

import trl
import trl.import_utils as asked


def unavailable(name):
    """Packages that only a TRL of another version asks after."""
    if name.startswith("is_"):
        return lambda *arguments, **keywords: False
    raise AttributeError(name)


asked.__getattr__ = unavailable


def pytest_addoption(parser):
    parser.addoption("--trainer")


def pytest_configure(config):
    weighting = config.getoption("--trainer")
    if weighting == "plain":
        return
    from toolrest.engines.trl import ResTConfig, ResTTrainer

    trl.GRPOConfig = partial(ResTConfig, weighting=weighting, dialect="hermes")
    trl.GRPOTrainer = ResTTrainer
'''
SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>"),
    *("<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
]
ADDED = [
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
    *("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>"),
    *("<think>", "</think>"),
]
"""Qwen3's tokens after its 151,643 of the vocabulary, in their order."""
SIZES = {
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
}
EXPERTS = {"num_experts_per_tok": 2}
POLICIES: dict[str, tuple[str, str, dict[str, object]]] = {
    "tiny-Qwen2ForCausalLM-2.5": ("Qwen2", "qwen2_5", {}),
    "tiny-Qwen2ForSequenceClassification-2.5": ("Qwen2", "qwen2_5", {"num_labels": 1}),
    "tiny-Qwen3ForCausalLM": ("Qwen3", "qwen3", {"head_dim": 4}),
    "tiny-Qwen3ForSequenceClassification": ("Qwen3", "qwen3", {"head_dim": 4, "num_labels": 1}),
    "tiny-Qwen3MoeForCausalLM": (
        "Qwen3Moe",
        "qwen3",
        {"head_dim": 4, "num_experts": 4, "moe_intermediate_size": 16, **EXPERTS},
    ),
    "tiny-GptOssForCausalLM": (
        "GptOss",
        "gptoss",
        {"head_dim": 4, "num_local_experts": 4, **EXPERTS},
    ),
    "tiny-LlamaForCausalLM-3.2": ("Llama", "llama3_2", {}),
    "tiny-LlamaForSequenceClassification-3.2": ("Llama", "llama3_2", {"num_labels": 1}),
    "tiny-Gemma2ForCausalLM": ("Gemma2", "gemma", {"head_dim": 4}),
    "tiny-MistralForCausalLM-0.2": ("Mistral", "qwen2_5", {}),
    "tiny-Cohere2ForCausalLM": ("Cohere2", "cohere2", {}),
}
"""Name to architecture, TRL's chat template, and sizes beside `SIZES`."""
ROWS = 17
"""As TRL's own data set; most tests go over it three times."""
BEGUN = ("A short line", "Numbers", "What follows from", "Of two things", "Nobody knows", "If so")
"""Prompts are these with a number; the tests look at none."""


def qwen_tokenizer():
    """Qwen3's, with its ids; made of the vocabulary in the package qwen_agent."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    found = find_spec("qwen_agent")  # not imported: it wants packages that are not needed here
    if found is None or found.origin is None:
        raise SystemExit(
            "the package qwen_agent, which carries Qwen's vocabulary, is not installed"
        )
    path = Path(found.origin).parent / "utils" / "qwen.tiktoken"
    raw = TikTokenConverter(vocab_file=str(path)).converted()
    raw.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    raw.add_tokens([AddedToken(text, special=False, normalized=False) for text in ADDED])
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    assert made.convert_tokens_to_ids("</think>") == 151668
    return made


def make_policies(hub: Path) -> None:
    """Tiny random policies and reward models under the names that the tests use."""
    import torch
    import transformers
    import trl

    templates = Path(trl.__file__).parent / "chat_templates"
    tokenizer = qwen_tokenizer()
    for name, (architecture, template, sizes) in POLICIES.items():
        kind = "SequenceClassification" if "num_labels" in sizes else "CausalLM"
        config = getattr(transformers, f"{architecture}Config")(
            vocab_size=len(tokenizer), **SIZES, **sizes
        )
        config.bos_token_id = None
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
        torch.manual_seed(0)
        model = getattr(transformers, f"{architecture}For{kind}")(config)
        tokenizer.chat_template = (templates / f"{template}.jinja").read_text()
        model.save_pretrained(hub / name)
        tokenizer.save_pretrained(hub / name)


def make_prompts(folder: Path, count: int) -> None:
    """A data set of prompts, as texts and as messages, with a short test split."""
    from datasets import Dataset

    texts = [f"{BEGUN[row % len(BEGUN)]} {row}" for row in range(count)]
    forms = {
        "standard_prompt_only": [{"prompt": text} for text in texts],
        "conversational_prompt_only": [
            {"prompt": [{"role": "user", "content": text}]} for text in texts
        ],
    }
    card = ["---", "configs:"]
    for form, rows in forms.items():
        (folder / form).mkdir(parents=True)
        card += [f"- config_name: {form}", "  data_files:"]
        for split, length in {"train": count, "test": 2}.items():
            Dataset.from_list(rows[:length]).to_parquet(folder / form / f"{split}.parquet")
            card += [f"  - split: {split}", f"    path: {form}/{split}.parquet"]
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))


def prepare(checkout: Path, folder: Path, rows: int) -> None:
    """TRL's test files, ours that swaps the trainer, and what they would take from the hub."""
    if not (checkout / "tests" / SUITE).is_file():
        raise SystemExit(f"{checkout}: no tests/{SUITE}; give a checkout of TRL")
    shutil.rmtree(folder / "tests", ignore_errors=True)
    (folder / "tests").mkdir(parents=True)
    for name in (*TESTS, SUITE):
        if (checkout / "tests" / name).is_file():
            shutil.copy(checkout / "tests" / name, folder / "tests" / name)
    (folder / "swap.py").write_text(PLUGIN)
    hub = folder / "trl-internal-testing"
    if not hub.is_dir():
        part = folder / "part"
        shutil.rmtree(part, ignore_errors=True)
        make_policies(part)
        part.rename(hub)
    shutil.rmtree(hub / "zen", ignore_errors=True)
    make_prompts(hub / "zen", rows)


def run(folder: Path, trainer: str, only: str) -> dict[str, tuple[str, str]]:
    """Each test's outcome and, where it failed, the last line of why."""
    report = folder / f"{trainer}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", f"tests/{SUITE}", "-p", "swap", "-q", "--tb=short"]
    command += ["-p", "no:cacheprovider", "--trainer", trainer, "-k", only, f"--junitxml={report}"]
    paths = os.pathsep.join(filter(None, [".", os.environ.get("PYTHONPATH")]))
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    with (folder / f"{trainer}.txt").open("w") as output:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | offline | {"PYTHONPATH": paths},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{trainer}: the tests did not run; see {folder / f'{trainer}.txt'}")
    return read_report(report)


def read_report(report: Path) -> dict[str, tuple[str, str]]:
    """Test to (`passed`, `failed` or `skipped`, why), of a JUnit file."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').split('.')[-1]}::{case.get('name')}"
        fault = next((part for part in case if part.tag in ("failure", "error")), None)
        if fault is not None:
            found[name] = ("failed", " ".join((fault.get("message") or "").split()))
        else:
            skipped = case.find("skipped") is not None
            found[name] = ("skipped" if skipped else "passed", "")
    return found


def differing(
    plain: dict[str, tuple[str, str]], ours: dict[str, tuple[str, str]]
) -> tuple[dict[str, str], dict[str, str]]:
    """What passes with GRPOTrainer and not with ours: refused settings, and all others."""
    refused, broken = {}, {}
    for name, (outcome, _) in plain.items():
        now, why = ours.get(name, ("failed", "was not run"))
        if outcome == "passed" and now != "passed":
            place = refused if why.startswith("toolrest.errors.InputError: ") else broken
            place[name] = why.removeprefix("toolrest.errors.InputError: ") or now
    return refused, broken


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("runs/trl-suite"))
    parser.add_argument("--only", default=TEXT_ONLY, help="pytest's -k")
    parser.add_argument(
        "--rows", type=int, default=ROWS, help="prompts of the data set; few are fast"
    )
    chosen = parser.parse_args()
    folder = chosen.folder.resolve()
    prepare(chosen.checkout, folder, chosen.rows)
    packages = ("trl", "transformers", "torch", "peft")
    print(", ".join(f"{name} {version(name)}" for name in packages), flush=True)
    found = {}
    failed = False
    for trainer in TRAINERS:
        found[trainer] = run(folder, trainer, chosen.only)
        counts = Counter(outcome for outcome, _ in found[trainer].values())
        refused, broken = differing(found["plain"], found[trainer])
        said = ", ".join(f"{counts[kind]} {kind}" for kind in ("passed", "failed", "skipped"))
        print(f"\n{trainer}: {said}; of what passes plain, refused {len(refused)}", flush=True)
        for name, why in refused.items():
            print(f"  refused {name}\n    {why}")
        for name, why in broken.items():
            print(f"  FAILED {name}\n    {why}")
        failed |= bool(broken)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
