"""Supervised learning with scales by region."""

import pytest
import torch
from datasets import Dataset
from known_regions import RESPONSES, as_tokens
from transformers import TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from toolrest.core.dialects import get_dialect
from toolrest.core.regions import Region, label_tokens
from toolrest.core.vocabulary import Vocabulary
from toolrest.data.prompts import render_prompt
from toolrest.engines.trl.sft import RegionSFTTrainer, region_scales
from toolrest.policy.speech import read_speech
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.world.demonstrations import demonstrated_samples
from toolrest.world.tasks import Split


@pytest.fixture(scope="module")
def rows(embedded_tokenizer):
    found = []
    for sample in demonstrated_samples(Split.TRAIN, 12):
        prompt = render_prompt(sample, embedded_tokenizer)
        answer = embedded_tokenizer(sample.demonstration + "<|im_end|>")["input_ids"]
        found.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return found


def train(kind, rows, tokenizer, folder, max_grad_norm=1.0, **more):
    trainer = kind(
        model=load_policy(Recipe()),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
        args=SFTConfig(
            output_dir=str(folder),
            max_steps=3,
            per_device_train_batch_size=4,
            learning_rate=1e-3,
            max_grad_norm=max_grad_norm,
            max_length=None,
            save_strategy="no",
            report_to="none",
            logging_steps=1,
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
        ),
        **more,
    )
    trainer.train()
    return trainer


def ours(rows, tokenizer, folder, method, scale=2.0, **more):
    scales = region_scales(method, scale)
    speech = read_speech(tokenizer, get_dialect("rlla"))
    return train(RegionSFTTrainer, rows, tokenizer, folder, scales=scales, speech=speech, **more)


def test_without_scales_it_is_the_supervised_trainer_bitwise(rows, embedded_tokenizer, tmp_path):
    plain = train(SFTTrainer, rows, embedded_tokenizer, tmp_path).model.state_dict()
    sft = ours(rows, embedded_tokenizer, tmp_path, "sft").model.state_dict()
    scaled = ours(rows, embedded_tokenizer, tmp_path, "tsft").model.state_dict()
    assert all(torch.equal(plain[name], sft[name]) for name in plain)
    assert any(not torch.equal(plain[name], scaled[name]) for name in plain)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "regions"),
    [("tsft", {Region.FORMAT, Region.NAME, Region.PARAMETERS}), ("rsft", {Region.REASONING})],
)
def test_the_first_loss_by_hand(rows, embedded_tokenizer, tmp_path, method, regions):
    """One batch of all rows: the sum of scaled -ln p over the number of answer tokens."""
    trainer = ours(rows[:4], embedded_tokenizer, tmp_path, method, scale=3.0)
    found = next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    vocabulary, model = Vocabulary.from_tokenizer(embedded_tokenizer), load_policy(Recipe())
    total, count = 0.0, 0
    for row in rows[:4]:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        with torch.no_grad():
            logps = torch.log_softmax(model(ids).logits[:, :-1], dim=-1)
        picked = -logps.gather(2, ids[:, 1:, None])[:, :, 0]
        counted = labels[:, 1:] != -100
        where = label_tokens(ids[:, 1:], counted, vocabulary, get_dialect("rlla"))
        for loss, region, kept in zip(picked[0], where[0], counted[0], strict=True):
            if kept:
                total += float(loss) * (3.0 if Region(int(region)) in regions else 1.0)
                count += 1
    assert found == pytest.approx(total / count, rel=1e-4)


@pytest.mark.slow
def test_a_thought_that_the_prompt_begins_is_scaled_as_one(rows, embedded_tokenizer, tmp_path):
    """Where `<think>` is the prompt's last text, the answer's first token is a thought's."""
    begun = []
    for row in rows[:4]:
        ids, labels = row["input_ids"], list(row["labels"])
        first = next(at for at, label in enumerate(labels) if label != -100)
        assert embedded_tokenizer.decode(ids[first : first + 1]) == "<think>"
        labels[first] = -100
        begun.append({"input_ids": ids, "labels": labels})
    plain, scaled = (
        ours(begun, embedded_tokenizer, tmp_path, "rsft", scale=scale).state.log_history[0]["loss"]
        for scale in (1.0, 3.0)
    )
    vocabulary, model, thought, count = (
        *(Vocabulary.from_tokenizer(embedded_tokenizer), load_policy(Recipe())),
        *(0.0, 0),
    )
    end = embedded_tokenizer.convert_tokens_to_ids("</think>")
    for row in begun:
        ids, counted = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]]) != -100
        with torch.no_grad():
            logps = torch.log_softmax(model(ids).logits[:, :-1], dim=-1)
        losses = -logps.gather(2, ids[:, 1:, None])[0, :, 0]
        begin, close = int(counted[0].int().argmax()), row["input_ids"].index(end)
        assert vocabulary.text(row["input_ids"][begin - 1 : begin]) == "<think>"
        thought += float(losses[begin - 1 : close - 1].sum())
        count += int(counted.sum())
    assert scaled - plain == pytest.approx(2.0 * thought / count, rel=1e-3)


@pytest.mark.stored_numbers
@pytest.mark.parametrize(("method", "letters"), [("sft", ""), ("tsft", "FNP"), ("rsft", "T")])
def test_the_first_gradient_by_hand(embedded_tokenizer, tmp_path, method, letters):
    """The demonstrations' regions are known by their pieces, of which nothing is labelled here;
    what the prompt says of marks is no part of them.
    """
    demonstrations = [as_tokens(RESPONSES[row], embedded_tokenizer) for row in (0, 1, 2, 4)]
    prompt = embedded_tokenizer("<|im_start|>user\nSave it. <think> <tool_call><|im_end|>\n")[
        "input_ids"
    ]
    rows = [
        {"input_ids": prompt + ids, "labels": [-100] * len(prompt) + ids}
        for ids, _ in demonstrations
    ]
    kept = []

    class Recorder(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model, **rest):
            kept.append({name: p.grad.clone() for name, p in model.named_parameters()})

    scales, dialect = region_scales(method, 3.0), get_dialect("rlla")
    train(
        *(RegionSFTTrainer, rows, embedded_tokenizer, tmp_path),
        max_grad_norm=0.0,
        callbacks=[Recorder()],
        scales=scales,
        speech=read_speech(embedded_tokenizer, dialect),
    )
    model = load_policy(Recipe())
    loss, count = torch.zeros(()), 0
    for ids, kinds in demonstrations:
        logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        picked = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
        factors = torch.tensor([3.0 if kind in letters else 1.0 for kind in kinds])
        loss = loss - (factors * picked).sum()
        count += len(ids)
    (loss / count).backward()
    for name, parameter in model.named_parameters():
        wanted = parameter.grad
        assert (kept[0][name] - wanted).norm() < 1e-4 * wanted.norm(), name


def test_the_scaled_regions_of_each_method():
    assert region_scales("sft", 3.0) == {}
    assert region_scales("rsft", 3.0) == {Region.REASONING: 3.0}
    assert region_scales("tsft", 3.0) == dict.fromkeys(
        (Region.FORMAT, Region.NAME, Region.PARAMETERS), 3.0
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["tsft", "sft", "rsft"])
def test_rows_without_padding_teach_the_same(rows, embedded_tokenizer, tmp_path, method):
    start = load_policy(Recipe()).state_dict()
    runs = [
        ours(rows, embedded_tokenizer, tmp_path, method, packs=packs) for packs in (False, True)
    ]
    assert [run.packs for run in runs] == [False, True]
    for one, two in zip(*(run.state.log_history for run in runs), strict=True):
        for name in ("loss", "entropy", "mean_token_accuracy", "num_tokens", "grad_norm"):
            if name in one:
                assert one[name] == pytest.approx(two[name], rel=1e-4), name
    ends = [run.model.state_dict() for run in runs]
    moved = sum((ends[0][name] - start[name]).norm() ** 2 for name in start) ** 0.5
    apart = sum((ends[0][name] - ends[1][name]).norm() ** 2 for name in start) ** 0.5
    assert 0 < apart < 0.02 * moved  # AdamW's first steps divide rounding by itself


@pytest.mark.slow
def test_labels_with_gaps_go_row_by_row(rows, embedded_tokenizer, tmp_path):
    """Only whole answers are packed."""
    gap = [{**row, "labels": [*row["labels"][:-3], -100, *row["labels"][-2:]]} for row in rows]
    plain, packs = (
        ours(gap, embedded_tokenizer, tmp_path, "sft", packs=packs).model.state_dict()
        for packs in (False, True)
    )
    assert all(torch.equal(plain[name], packs[name]) for name in plain)
