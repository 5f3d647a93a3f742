"""The gradient that the TRL engine leaves, against each of TRL's losses written out by hand.

The responses are given as pieces whose regions are known, so nothing is read from the engine but
which rows it put into which micro-batch: log-probabilities and entropies come from a plain forward
of each response, weights and advantages from the formulas in docs/method.md.
"""

import math
from itertools import chain

import pytest
import torch
from datasets import Dataset
from known_regions import RESPONSES, as_tokens
from transformers import TrainerCallback

from toolrest.engines.trl.checks import EXACT_LOSS_TYPES
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe

GROUP, ROWS, LONGEST = 4, 8, 96
LOW, HIGH, CISPO_HIGH = 0.1, 0.125, 1.11  # no ratio comes nearer to a bound than 0.006
POSITIVE, NEGATIVE = 1.0, 1.05
W_MIN, W_MAX, RATE = 0.2, 5.0, 0.5
REST = {
    "weighting": "rest",
    "weighting_options": {"w_min": W_MIN, "w_max": W_MAX},
    "max_steps": 4,
}
REWARDS = [3.0, -1.5, 0.5, -2.0, 1.0, 1.25, -3.0, 0.0]


class Recorder(TrainerCallback):
    """Each update's gradient and the parameters that it was taken at."""

    def __init__(self):
        self.updates = []

    def on_pre_optimizer_step(self, args, state, control, model, **rest):
        named = dict(model.named_parameters())
        self.updates.append(
            (
                {name: value.grad.clone() for name, value in named.items()},
                {name: value.detach().clone() for name, value in named.items()},
            )
        )


class Spy(ResTTrainer):
    """Remembers which responses each micro-batch holds, by their ids."""

    def __init__(self, *positional, **keywords):
        self.batches = []
        super().__init__(*positional, **keywords)

    def _compute_loss(self, model, inputs):
        self.batches.append(
            [
                ids[mask.bool()].tolist()
                for ids, mask in zip(
                    inputs["completion_ids"], inputs["completion_mask"], strict=True
                )
            ]
        )
        return super()._compute_loss(model, inputs)


def trained(tokenizer, folder, loss_type, responses, on_rollouts=None, rewards=REWARDS, **settings):
    """Two generations of two updates of two micro-batches of two rows."""

    def rollout(prompts, trainer):
        return {
            "prompt_ids": [tokenizer(prompt)["input_ids"] for prompt in prompts],
            "completion_ids": [ids for ids, _ in responses],
            "logprobs": None,
            "env_mask": [[int(letter != "-") for letter in letters] for _, letters in responses],
        }

    def reward(completion_ids, **columns):
        return rewards

    prompt = "<|im_start|>user\nSave it.<|im_end|>\n<|im_start|>assistant\n"
    recorder = Recorder()
    trainer = Spy(
        model=load_policy(Recipe()).double(),
        processing_class=tokenizer,
        reward_funcs=[reward],
        train_dataset=Dataset.from_list([{"prompt": prompt}] * 4),
        rollout_func=rollout,
        callbacks=[recorder],
        on_rollouts=on_rollouts,
        args=ResTConfig(
            output_dir=str(folder),
            loss_type=loss_type,
            entropy_source="exact",
            normalise="trajectory",
            epsilon=LOW,
            epsilon_high=CISPO_HIGH if loss_type == "cispo" else HIGH,
            sapo_temperature_pos=POSITIVE,
            sapo_temperature_neg=NEGATIVE,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            steps_per_generation=4,
            num_generations=GROUP,
            max_completion_length=LONGEST,
            learning_rate=5e-4,
            lr_scheduler_type="constant",
            max_grad_norm=1e9,
            seed=3,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            **(REST | settings),
        ),
    )
    trainer.train()
    return recorder.updates, trainer.batches, tokenizer(prompt)["input_ids"]


def model_at(parameters):
    model = load_policy(Recipe()).double()
    model.load_state_dict(parameters, strict=False)  # the tied head has no parameter of its own
    return model


def forward(model, prompt, ids):
    """(log-probability, entropy) of each token of a response, [T]."""
    logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    logps = torch.log_softmax(logits, dim=-1)
    picked = logps.gather(1, torch.tensor(ids)[:, None])[:, 0]
    return picked, -(logps.exp() * logps).sum(-1)


def weights_by_hand(responses, entropies, progress):
    """w of every token that the policy wrote, the rows' lists."""
    kinds = {}
    for (_, letters), values in zip(responses, entropies, strict=True):
        for letter, value in zip(letters, values.tolist(), strict=True):
            kinds.setdefault(letter, []).append(value)
    known = {k: v for k, v in kinds.items() if k not in "O-"}
    raw = {k: 1 / (1 - math.exp(-sum(v) / len(v))) for k, v in known.items()}
    mean = sum(raw[k] * len(known[k]) for k in known) / sum(map(len, known.values()))
    weight = {k: min(max(raw[k] / mean, W_MIN), W_MAX) for k in known} | {"O": 1.0}
    weight["F"] = max(W_MIN, weight["F"] - RATE * progress)
    weight["P"] = min(W_MAX, weight["P"] + RATE * progress)
    weight["T"] = min(W_MAX, weight["T"] + RATE * progress)
    rows = []
    for _, letters in responses:
        row = torch.tensor([weight[k] for k in letters if k != "-"], dtype=torch.float64)
        rows.append(row / row.mean())
    return rows


def advantages_by_hand():
    found = []
    for start in range(0, ROWS, GROUP):
        group = torch.tensor(REWARDS[start : start + GROUP], dtype=torch.float64)
        found += ((group - group.mean()) / (group.std() + 1e-4)).tolist()
    return found


def loss_by_hand(loss_type, batches, generation):
    """TRL's documented loss of one update.

    Args:
        batches: of each micro-batch, of each row (ratio, log-probability, w * A), [T] each.
        generation: tokens of the whole generation, of which this update has a half.
    """
    sums, lengths = [], []
    for batch in batches:
        sums.append([])
        lengths.append([])
        for ratio, logps, credit in batch:
            if loss_type == "cispo":
                value = ratio.clamp(max=CISPO_HIGH).detach() * credit * logps
            elif loss_type == "sapo":
                heat = torch.where(credit > 0, POSITIVE, NEGATIVE)
                value = 4 / heat * torch.sigmoid(heat * (ratio - 1)) * credit
            else:
                clipped = ratio.clamp(1 - LOW, 1 + HIGH)
                value = torch.minimum(ratio * credit, clipped * credit)
            sums[-1].append(-value.sum())
            lengths[-1].append(len(value))
    rows = sum(map(len, lengths))
    total = sum(sum(batch) for batch in sums)
    if loss_type in ("grpo", "sapo"):
        pairs = zip(chain(*sums), chain(*lengths), strict=True)
        return sum(value / length for value, length in pairs) / rows
    if loss_type == "bnpo":
        pairs = zip(sums, lengths, strict=True)
        return sum(sum(batch) / sum(tokens) for batch, tokens in pairs) / len(batches)
    if loss_type in ("dapo", "cispo"):
        return total / (generation / 2)
    return total / (rows * {"dr_grpo": LONGEST, "luspo": 1}[loss_type])


WRONG = {
    "squared": lambda weights: weights.square(),
    "rooted": lambda weights: weights.sqrt(),
    "none": torch.ones_like,
    "of the next token": lambda weights: weights.roll(1),
    "turned round": lambda weights: weights.flip(0),
}


@pytest.mark.parametrize(
    "loss_type",
    [
        pytest.param("grpo", marks=pytest.mark.stored_numbers),
        "cispo",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in EXACT_LOSS_TYPES
            if name not in ("grpo", "cispo")
        ),
    ],
)
def test_the_gradient_is_that_of_the_weighted_loss(tmp_path, embedded_tokenizer, loss_type):
    responses = [as_tokens(pieces, embedded_tokenizer) for pieces in RESPONSES]
    updates, batches, prompt = trained(embedded_tokenizer, tmp_path, loss_type, responses)
    assert len(updates) == 4 and len(batches) == 8
    written = [torch.tensor([k != "-" for k in letters]) for _, letters in responses]
    tokens = sum(int(kept.sum()) for kept in written)
    advantages = advantages_by_hand()
    clipped = 0
    for number, (found, parameters) in enumerate(updates):
        model = model_at(parameters)
        if number % 2 == 0:
            with torch.no_grad():
                old = [forward(model, prompt, ids) for ids, _ in responses]
            weights = weights_by_hand(responses, [entropy for _, entropy in old], number / 4)

        def gradient(weights, model=model, number=number, old=old):
            rows = []
            for batch in batches[2 * number : 2 * number + 2]:
                rows.append([])
                for ids in batch:
                    row = [ids for ids, _ in responses].index(ids)
                    kept = written[row]
                    logps = forward(model, prompt, ids)[0][kept]
                    ratio = (logps - old[row][0][kept]).exp()
                    rows[-1].append((ratio, logps, weights[row] * advantages[row]))
            loss = loss_by_hand(loss_type, rows, tokens)
            named = dict(model.named_parameters())
            made = torch.autograd.grad(loss, list(named.values()))
            return dict(zip(named, made, strict=True)), rows

        expected, rows = gradient(weights)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert distance(found[name], value) < 5e-5, (number, name)
        high = CISPO_HIGH if loss_type == "cispo" else 1 + HIGH
        ratios = torch.cat([ratio.detach() for batch in rows for ratio, _, _ in batch])
        credits = torch.cat([credit for batch in rows for _, _, credit in batch])
        clipped += int(((ratios > high) & (credits > 0)).sum())
    # What would fail: the last update, at half of the curriculum, with ratios away from 1.
    assert clipped > 10
    assert (ratios - 1).abs().max() > 0.5
    assert torch.cat(weights).max() > 1.5 and torch.cat(weights).min() < 0.6
    whole = torch.cat([value.flatten() for value in found.values()])
    for name, wrong in WRONG.items():
        other = gradient([wrong(row) for row in weights])[0]
        far = torch.cat([value.flatten() for value in other.values()])
        assert distance(whole, far) > 0.03, name


def test_labels_put_the_scaffolding_where_the_scheme_wants_it(tmp_path, embedded_tokenizer):
    """`official` has the tags alone in FORMAT, every other scheme the scaffolding too."""
    tags = {f"<{end}{name}>" for end in ("", "/") for name in ("think", "tool_call", "response")}
    letters = {"F": 1, "N": 2, "P": 3, "T": 4, "R": 5, "O": 0, "-": 0}
    for scheme in ("official", "uniform"):
        batches = []
        responses = [as_tokens(pieces, embedded_tokenizer) for pieces in RESPONSES]
        trained(
            *(embedded_tokenizer, tmp_path, "grpo", responses),
            **{"weighting": scheme, "weighting_options": {}, "max_steps": 1},
            on_rollouts=batches.append,
        )
        for row, pieces in enumerate(RESPONSES):
            expected = []
            for letter, text in pieces:
                outside = scheme == "official" and letter == "F" and text not in tags
                count = len(embedded_tokenizer(text)["input_ids"]) if text else 0
                expected += [0 if outside else letters[letter]] * count
            assert batches[0].regions[row].tolist()[: len(expected)] == expected


def test_a_group_with_a_reward_that_is_none_has_no_advantage(tmp_path, embedded_tokenizer):
    batches = []
    trained(
        *(embedded_tokenizer, tmp_path, "grpo"),
        [as_tokens(pieces, embedded_tokenizer) for pieces in RESPONSES],
        rewards=[*REWARDS[:6], math.inf, 0.0],
        max_steps=1,
        non_finite="skip",
        on_rollouts=batches.append,
    )
    found = batches[0].advantages.tolist()
    assert found[:GROUP] == pytest.approx(advantages_by_hand()[:GROUP], rel=1e-5)
    assert found[GROUP:] == [0.0] * GROUP


def distance(found, expected):
    """Relative to the expected tensor's norm."""
    return float((found - expected).norm() / expected.norm())
