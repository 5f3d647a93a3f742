"""What TRL's loss has beside weighted advantages: clipping ranges by region, and LLDS."""

import pytest
import torch
from datasets import Dataset
from replayed import Fixed, distance, trained
from trl_settings import settings

from toolrest.core.regions import Region
from toolrest.core.weights import RegionEntropy
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.errors import InputError
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.world.tasks import Split, make_samples

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


@pytest.fixture(scope="module")
def dataset():
    samples = make_samples(Split.TRAIN, 16)
    return Dataset.from_list(
        [{"prompt": list(s.prompt), "ground_truth": s.ground_truth} for s in samples]
    )


def made(folder, dataset, tokenizer, **more):
    options = {"weighting": "uniform"} | more
    trainer = ResTTrainer(
        model=load_policy(Recipe()),
        processing_class=tokenizer,
        reward_funcs=[ToolReward()],
        train_dataset=dataset,
        args=ResTConfig(**settings(folder), **options),
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def batch(trainer, ratios, advantages):
    """Two responses whose tokens have these ratios to the old policy, [2, 4]."""
    rows = len(IDS)
    inputs = {
        "prompt_ids": torch.tensor([[1, 2]] * rows),
        "prompt_mask": torch.ones(rows, 2).long(),
        "completion_ids": IDS,
        "completion_mask": MASK,
        "advantages": advantages,
        "regions": torch.full(IDS.shape, int(Region.FORMAT)),
        "num_items_in_batch": MASK.sum(),
    }
    with torch.no_grad():
        known = trainer._score_rollouts(inputs).log_probs
    return inputs | {"old_per_token_logps": known - ratios.log()}


def test_each_token_is_clipped_to_its_own_range_by_hand(tmp_path, dataset, embedded_tokenizer):
    """epsilon 0.2 times 0.5 and 2: [0.9, 1.1] and [0.6, 1.4]."""
    trainer = made(tmp_path, dataset, embedded_tokenizer, clip_by="region_entropy")
    ratios = torch.tensor([[1.3, 1.3, 1.05, 1.5], [0.7, 0.7, 1.0, 1.0]])
    narrow = torch.tensor([[0.5, 2.0, 0.5, 2.0], [0.5, 2.0, 1.0, 1.0]])
    inputs = batch(trainer, ratios, torch.tensor([1.0, -1.0]))
    loss = trainer._compute_loss(trainer.model, inputs | {"clip_factors": narrow})
    # Of a good response the least of ratio and bound counts, of a bad one the greatest.
    good = (1.1 + 1.3 + 1.05 + 1.4) / 4
    bad = (0.9 + 0.7) / 2
    assert loss.item() == pytest.approx(-(good - bad) / 2, abs=1e-5)
    logged = trainer._metrics["train"]
    assert logged["clip_ratio/high_mean"] == [pytest.approx(2 / 6)]
    assert logged["clip_ratio/low_mean"] == [pytest.approx(1 / 6)]
    assert (trainer.epsilon_low, trainer.epsilon_high) == (0.2, 0.2)
    plain = trainer._compute_loss(trainer.model, inputs).item()
    assert plain == pytest.approx(-((1.2 + 1.2 + 1.05 + 1.2) / 4 - 0.8) / 2, abs=1e-5)


def test_ranges_are_those_of_the_tokens_regions_and_logged(tmp_path, dataset, embedded_tokenizer):
    trainer = made(tmp_path, dataset, embedded_tokenizer, clip_by="region_entropy")
    regions = torch.tensor([[Region.FORMAT, Region.REASONING, Region.OTHER]])
    total, count = torch.zeros(len(Region)).double(), torch.zeros(len(Region)).double()
    total[Region.FORMAT], total[Region.REASONING] = 0.01, 30.0  # means of 0.001 and 3 nats
    count[Region.FORMAT], count[Region.REASONING] = 10, 10
    entropy = RegionEntropy(total, count)
    found = trainer._ranges(entropy, regions)["clip_factors"]
    assert found.dtype == torch.float32
    assert found.tolist() == [[0.5, 1.5, 1.0]]
    logged = {k: v for k, v in trainer._metrics["train"].items() if k.startswith("clip_factor/")}
    assert logged == {"clip_factor/format": [0.5], "clip_factor/reasoning": [1.5]}
    trainer.config.clip_by = "none"
    assert trainer._ranges(entropy, regions) == {}


LOST = [[0.0, 0.5, 0.0, 0.2], [0.0, 0.0, 0.0, 0.0]]
"""Of the batch below: the good response has lost 0.6, the bad one does not count."""
FACTORS = {"dapo": 6, "grpo": 8, "sapo": 8, "bnpo": 6, "dr_grpo": 2 * 96, "luspo": 2}
"""What a sum over the good response's tokens is divided by: 2 responses of 4 and 2 tokens."""


@pytest.mark.parametrize("loss_type", FACTORS)
def test_lost_likelihood_is_added_as_the_loss_is_aggregated_by_hand(
    tmp_path, dataset, embedded_tokenizer, loss_type
):
    options = {"llds": 0.5, "loss_type": loss_type, "num_iterations": 2}
    trainer = made(tmp_path, dataset, embedded_tokenizer, **options)
    trainer._step = 1  # the second update of a generation
    falls = torch.tensor([[-0.1, 0.5, 0.0, 0.2], [0.3, 0.3, 0.0, 0.0]])
    inputs = batch(trainer, (-falls).exp(), torch.tensor([1.0, -1.0]))
    terms = trainer._terms(None, inputs["regions"], inputs["advantages"], None)
    assert terms["preserved"].tolist() == [[True], [False]]

    def gradient(given):
        trainer.model.zero_grad()
        with trainer._record():
            loss = trainer._compute_loss(trainer.model, given)
        loss.backward()
        return loss.item(), torch.cat([p.grad.flatten() for p in trainer.model.parameters()])

    plain, before = gradient(inputs)
    loss, after = gradient(inputs | terms)
    assert loss - plain == pytest.approx(0.5 * 0.7 / FACTORS[loss_type], abs=1e-5)
    assert trainer._metrics["train"]["llds"] == [pytest.approx(0.7 / 6, abs=1e-5)]
    scores = trainer._scores(inputs)  # whose tokens that have lost are raised
    own = (scores * torch.tensor(LOST).gt(0)).sum()
    raised = torch.cat(
        [g.flatten() for g in torch.autograd.grad(own, list(trainer.model.parameters()))]
    )
    wanted = -0.5 * raised / FACTORS[loss_type]
    assert torch.allclose(after - before, wanted, atol=1e-4 * float(wanted.norm()) + 1e-7)


def test_of_the_policy_that_sampled_nothing_is_lost(tmp_path, dataset, embedded_tokenizer):
    """Whatever rounding says of its old log-probabilities."""
    trainer = made(tmp_path, dataset, embedded_tokenizer, llds=0.5, num_iterations=2)
    inputs = batch(trainer, torch.full((2, 4), 0.9), torch.tensor([1.0, -1.0]))
    terms = trainer._terms(None, inputs["regions"], inputs["advantages"], None)
    plain = trainer._compute_loss(trainer.model, inputs)
    assert torch.equal(trainer._compute_loss(trainer.model, inputs | terms), plain)
    assert "llds" not in trainer._metrics["train"]


def test_rows_that_nothing_is_known_of_are_not_preserved(tmp_path, dataset, embedded_tokenizer):
    trainer = made(tmp_path, dataset, embedded_tokenizer, llds=0.5)
    unscored = torch.tensor([True, False, False])
    for advantages in (torch.tensor([0.0, 0.0, -1.0]), torch.tensor([[0.0], [0.0], [-1.0]])):
        found = trainer._terms(None, torch.zeros(3, 1), advantages, unscored)
        assert found["preserved"].tolist() == [[False], [True], [False]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory, dataset, embedded_tokenizer):
    """The policy that usual clipping trains."""
    trainer = made(tmp_path_factory.mktemp("plain"), dataset, embedded_tokenizer)
    trainer.train()
    return dict(trainer.model.state_dict())


@pytest.mark.parametrize("own", [{"clip_by": "region_entropy"}, {"llds": 10.0}])
def test_on_policy_all_is_grpo_bitwise(tmp_path, dataset, embedded_tokenizer, plain, own):
    """All ratios are 1, which lies in every range; no likelihood is lost."""
    trainer = made(tmp_path, dataset, embedded_tokenizer, **own)
    trainer.train()
    ours = dict(trainer.model.state_dict())
    assert ("clip_factor/reasoning" in trainer.state.log_history[0]) == ("clip_by" in own)
    start = dict(load_policy(Recipe()).state_dict())
    assert any(not torch.equal(start[name], plain[name]) for name in plain)
    assert all(torch.equal(plain[name], ours[name]) for name in plain)


SPLIT = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}


@pytest.mark.slow
@pytest.mark.parametrize("own", [{"clip_by": "region_entropy", "epsilon": 0.02}, {"llds": 2.0}])
def test_off_policy_it_acts_and_a_split_batch_is_the_whole_batch(
    tmp_path, dataset, embedded_tokenizer, own
):
    """Two passes over each generation: by micro-batches, by tokens, and with shared prompts."""
    rollout = Fixed()
    given = (tmp_path, dataset, embedded_tokenizer, rollout)
    case = {"num_iterations": 2, "max_steps": 4, "weighting": "uniform"}
    start, plain, _ = trained(*given, **case, **{k: v for k, v in own.items() if k == "epsilon"})
    rollout.replay()
    _, whole, logged = trained(*given, **case, **own)
    assert distance(start, plain, whole) > 1e-2
    losing = [row.get("llds") for row in logged[:4]]
    assert not own.get("llds") or (losing[::2] == [None, None] and min(losing[1::2]) > 1e-5)
    for more in (SPLIT, {"micro_tokens": 300}, {"prefix_sharing": "on", **SPLIT}):
        rollout.replay()
        _, cut, _ = trained(*given, **case, **own, **more)
        assert distance(start, whole, cut) <= 1e-3, more


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"clip_by": "regions"}, "clip_by"),
        ({"llds": -1.0}, "llds must be a number of at least 0"),
        ({"llds": float("nan")}, "llds must be a number of at least 0"),
        (
            {"clip_by": "region_entropy", "importance_sampling_level": "sequence"},
            "gives a sequence one ratio, which has no region",
        ),
        ({"clip_by": "region_entropy", "loss_type": "cispo"}, "clips no token's ratio"),
        ({"clip_by": "region_entropy", "loss_type": "sapo"}, "clips no token's ratio"),
    ],
)
def test_settings_without_such_a_term_are_refused(
    tmp_path, dataset, embedded_tokenizer, given, words
):
    with pytest.raises(InputError, match=words) as refused:
        made(tmp_path, dataset, embedded_tokenizer, **given)
    assert "\n" not in str(refused.value)
