"""Sums over many tokens, and devices without float64, which a CPU stands in for."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from toolrest.core import precision
from toolrest.core.credit import Decided, deviation, reward_to_go
from toolrest.core.precision import exact_place, sums_by, widest
from toolrest.core.regions import Region
from toolrest.core.turns import normalise_turns
from toolrest.core.weights import (
    RegionEntropy,
    TokenBatch,
    TokenStatistics,
    get_scheme,
)
from toolrest.core.weights.base import normalise
from toolrest.engines.common.entropy import EntropyTracker
from toolrest.engines.common.incidents import describe_tensors

MANY = 10_000_000
ROWS, WIDTH, GROUP = 8, 64, 4
SCHEMES = (
    *("uniform", "rest", "official", "stare", "top_entropy", "gtpo", "actfocus", "contrast"),
    *("regional", "rest*stare"),
)


class NoFloat64(TorchDispatchMode):
    """Refuses float64 numbers of tokens; those of regions and responses are kept on the CPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for each in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(each, torch.Tensor) and each.dtype == torch.float64:
                assert each.numel() < WIDTH, f"{func} makes {tuple(each.shape)} in float64"
        return found


@pytest.fixture
def no_float64(monkeypatch):
    """The CPU as a device without float64."""
    monkeypatch.setattr(precision, "WITHOUT_FLOAT64", {"cpu"})


def batch_of(width=WIDTH):
    torch.manual_seed(0)
    mask = torch.arange(width) < torch.randint(3, width, (ROWS, 1))
    regions = torch.randint(0, len(Region), (ROWS, width))
    tokens = TokenStatistics(
        torch.randint(0, 9, (ROWS, width)),
        torch.rand(ROWS, width),
        2 * torch.rand(ROWS, width),
        torch.randn(ROWS),
        GROUP,
    )
    measured = RegionEntropy.measure(tokens.entropy, regions, mask)
    return TokenBatch(regions, mask, 0.4, measured, tokens, 0.9)


def test_mps_has_no_float64():
    assert widest("mps") == widest(torch.device("mps", 0)) == torch.float32
    assert widest("cpu") == widest("cuda:1") == torch.float64
    assert exact_place("mps") == torch.device("cpu")
    assert exact_place("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", SCHEMES)
def test_schemes_weigh_alike_without_float64(name, no_float64, monkeypatch):
    batch = batch_of()
    scheme = get_scheme(name)
    with NoFloat64():
        found = scheme(batch)
    monkeypatch.setattr(precision, "WITHOUT_FLOAT64", set())
    assert torch.allclose(found, get_scheme(name)(batch_of()), rtol=1e-6, atol=0)


def test_the_collision_rule_weighs_alike_without_float64(no_float64, monkeypatch):
    batch = batch_of()
    with NoFloat64():
        found = get_scheme("rest", rule="collision")(batch)
    monkeypatch.setattr(precision, "WITHOUT_FLOAT64", set())
    assert torch.allclose(found, get_scheme("rest", rule="collision")(batch), rtol=1e-6, atol=0)


def test_credit_turns_entropies_and_incidents_need_no_float64(no_float64, monkeypatch):
    batch = batch_of()
    sampled = torch.rand(ROWS, WIDTH) < 0.8
    rewards = torch.randn(ROWS)
    decided = Decided([[0.25, 0.5]] * ROWS, torch.randint(0, 3, (ROWS, WIDTH)))

    def computed():
        tracker = EntropyTracker("online", 0.5)
        for step in (1, 2):
            followed = tracker.add(step, RegionEntropy.measure(batch.tokens.entropy, *where))
        return [
            normalise_turns(torch.rand(ROWS, WIDTH).add(0.5), sampled),
            reward_to_go(rewards, decided, GROUP),
            followed.mean.float(),
            torch.tensor(deviation(rewards)),
            torch.tensor(describe_tensors({"x": rewards})["x"]["mean"]),
        ]

    where = (batch.regions, batch.mask)
    torch.manual_seed(1)
    with NoFloat64():
        narrow = computed()
    monkeypatch.setattr(precision, "WITHOUT_FLOAT64", set())
    torch.manual_seed(1)
    for one, other in zip(narrow, computed(), strict=True):
        assert torch.allclose(one.float(), other.float(), rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def many():
    """Values whose sum runs past what float32 can add one after the other, [1, 10^7]."""
    torch.manual_seed(2)
    return torch.rand(1, MANY).mul_(0.9).add_(0.05)


def six_digits(value):
    return pytest.approx(float(value), rel=1e-6)


@pytest.mark.slow
def test_sums_over_many_tokens_keep_six_digits_in_float32(many, no_float64):
    """Adding one after the other, in which `index_add` and its like go, keeps four."""
    where = torch.zeros(1, MANY, dtype=torch.int64)
    expected = many.double().sum()
    assert sums_by(many, where, 1).dtype == torch.float32
    assert sums_by(many, where, 1).item() == six_digits(expected)
    scattered = torch.zeros(1).index_add(0, where[0], many[0]).item()
    assert scattered != six_digits(expected)
    regions = where + Region.REASONING
    found = RegionEntropy.measure(many, regions, torch.ones_like(many, dtype=torch.bool))
    assert found.mean[Region.REASONING].item() == six_digits(expected / MANY)
    assert found.count[Region.REASONING].item() == MANY


@pytest.mark.slow
def test_a_row_of_many_tokens_has_mean_1_in_float32(many, no_float64):
    mask = torch.ones_like(many, dtype=torch.bool)
    assert normalise(many, mask).double().mean().item() == six_digits(1)
    turns = torch.ones_like(mask)
    turns[0, MANY // 3] = False  # two turns
    found = normalise_turns(many, turns).double()
    assert found[0, : MANY // 3].mean().item() == six_digits(1)
    assert found[0, MANY // 3 + 1 :].mean().item() == six_digits(1)


def test_many_micro_batches_add_up(no_float64):
    """What is kept between forwards is float64, wherever it was measured."""
    regions = torch.full((1, 1000), int(Region.NAME))
    values, mask = torch.full((1, 1000), 0.1), torch.ones(1, 1000, dtype=torch.bool)
    total = RegionEntropy.zero()
    one = RegionEntropy.measure(values, regions, mask)
    for _ in range(10_000):
        total += one
    assert total.count[Region.NAME].item() == MANY
    assert total.mean[Region.NAME].item() == six_digits(values[0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stare", "actfocus"])
def test_means_of_a_batch_of_many_tokens_keep_six_digits(many, name):
    """What these compare tokens with: the mean entropy of the batch, of the action."""
    mask = torch.ones_like(many, dtype=torch.bool)
    regions = torch.full_like(mask, int(Region.NAME), dtype=torch.int64)
    mean = many.double().mean().item()
    ids = torch.zeros_like(regions)
    tokens = TokenStatistics(ids, many, many, torch.ones(1), 1)
    batch = TokenBatch(regions, mask, token_statistics=tokens)
    if name == "actfocus":
        found = get_scheme(name).weights(batch)
        assert found[0, 0].item() == six_digits(1 + 0.5 * (many[0, 0].item() / mean - 1))
        return
    for target, on in ((mean * (1 + 1e-6), True), (mean * (1 - 1e-6), False)):
        found = get_scheme(name, target_entropy=target).weights(batch)
        assert bool((found != 1).any()) == on
