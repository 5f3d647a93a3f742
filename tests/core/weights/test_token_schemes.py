"""Schemes that weigh tokens one by one, and products of schemes; numbers worked out by hand."""

import pytest
import torch

from toolrest.core.regions import Region
from toolrest.core.weights import RegionEntropy, TokenBatch, TokenStatistics, get_scheme
from toolrest.errors import InputError

pytestmark = pytest.mark.stored_numbers
T, N, P = Region.REASONING, Region.NAME, Region.PARAMETERS


def statistics(entropy, surprisal=None, advantages=None, group_size=1, ids=None):
    entropy = torch.tensor(entropy)
    return TokenStatistics(
        ids=torch.tensor(ids) if ids is not None else torch.zeros(entropy.shape, dtype=torch.int64),
        entropy=entropy,
        surprisal=torch.tensor(surprisal) if surprisal is not None else entropy,
        advantages=torch.tensor(advantages or [1.0] * len(entropy)),
        group_size=group_size,
    )


def weigh(name, regions, tokens, mask=None, **options):
    regions = torch.tensor(regions)
    mask = torch.ones_like(regions, dtype=torch.bool) if mask is None else torch.tensor(mask)
    return get_scheme(name, **options)(TokenBatch(regions, mask, token_statistics=tokens))


def test_stare_by_hand():
    """Of five tokens the most surprising one of the good response weighs 1.1: mean 1.02."""
    tokens = statistics([[0.1] * 5], [[0.1, 0.2, 3.0, 0.1, 0.2]], [1.0])
    found = weigh("stare", [[T, T, T, N, P]], tokens, target_entropy=0.3)
    assert found[0].tolist() == pytest.approx([1 / 1.02] * 2 + [1.1 / 1.02] + [1 / 1.02] * 2)


@pytest.mark.parametrize(("entropy", "advantage"), [(0.9, 1.0), (0.1, -1.0)])
def test_stare_is_off_over_its_target_and_for_bad_responses(entropy, advantage):
    tokens = statistics([[entropy] * 3], [[0.1, 0.2, 3.0]], [advantage])
    found = weigh("stare", [[T, T, P]], tokens, target_entropy=0.5)
    assert found.tolist() == [[pytest.approx(1.0)] * 3]


@pytest.mark.parametrize(("start", "on"), [(None, False), (0.59, False), (0.6, True)])
def test_stare_without_a_target_keeps_the_entropy_of_the_start(start, on):
    """At 0.59 nats: off in the first generation and after a start of 0.59, on after one of 0.6."""
    regions = torch.tensor([[T, T, P]])
    tokens = statistics([[0.59] * 3], [[0.1, 0.2, 3.0]])
    batch = TokenBatch(regions, regions >= 0, token_statistics=tokens, start_entropy=start)
    found = get_scheme("stare")(batch)
    assert found[0].tolist() == pytest.approx([3 / 3.1, 3 / 3.1, 3.3 / 3.1] if on else [1.0] * 3)
    ruled = get_scheme("stare", target_entropy=0.5)(batch)
    assert ruled.tolist() == [[pytest.approx(1.0)] * 3]


def test_top_entropy_by_hand():
    """Of the four reasoning tokens the most uncertain stays; the name does too: 2 of 5 tokens."""
    tokens = statistics([[0.1, 0.9, 0.2, 0.3, 0.0]])
    found = weigh("top_entropy", [[T, T, T, T, N]], tokens, share=0.25)
    assert found[0].tolist() == pytest.approx([0, 2.5, 0, 0, 2.5])


def test_gtpo_by_hand():
    """Position 0: entropies 1 and 3 of good responses, mean 2, ratios 0.5 and 1.5."""
    tokens = statistics([[1.0, 1.0], [3.0, 1.0]], advantages=[1.0, 0.0], group_size=2)
    found = weigh("gtpo", [[T, T], [T, T]], tokens, mix=1.0)
    assert found.flatten().tolist() == pytest.approx([2 / 3, 4 / 3, 1.2, 0.8])


def test_gtpo_turns_round_for_bad_responses():
    """1/H is 1 and 1/3, mean 2/3: ratios 1.5 and 0.5; a good response is not in their mean."""
    tokens = statistics(
        [[1.0, 1.0], [3.0, 1.0], [9.0, 1.0]], advantages=[-1.0, -1.0, 2.0], group_size=3
    )
    found = weigh("gtpo", [[T, T]] * 3, tokens, mix=1.0)
    assert found[:2].flatten().tolist() == pytest.approx([1.2, 0.8, 2 / 3, 4 / 3])
    assert found[2].tolist() == pytest.approx([1.0, 1.0])


def test_contrast_by_hand():
    """Token 7 is in one good response of one and in no bad one of two; 5 is in all of both."""
    tokens = statistics(
        [[0.0] * 2] * 3, advantages=[1.0, -0.5, -0.5], group_size=3, ids=[[5, 7], [5, 8], [5, 9]]
    )
    found = weigh("contrast", [[N, P]] * 3, tokens, floor=0.5)
    good, bad = (0.5, 1.5), (0.5, 1.0)
    expected = [[w / (sum(row) / 2) for w in row] for row in (good, bad, bad)]
    assert found.tolist() == [pytest.approx(row) for row in expected]


def test_contrast_tells_regions_apart_and_leaves_out_what_is_masked():
    """The same id in another region is another thing, and the masked one was not written."""
    tokens = statistics([[0.0] * 2] * 2, advantages=[1.0, -1.0], group_size=2, ids=[[5, 6], [5, 6]])
    found = weigh("contrast", [[N, P], [T, P]], tokens, [[True, True], [True, False]], floor=1.0)
    assert found.tolist() == [[pytest.approx(1.0)] * 2, [pytest.approx(1.0), 0.0]]


def test_contrast_of_equal_rewards_is_uniform():
    tokens = statistics([[0.0] * 2] * 2, advantages=[0.0, 0.0], group_size=2, ids=[[5, 6], [7, 8]])
    assert weigh("contrast", [[N, P]] * 2, tokens).tolist() == [[pytest.approx(1.0)] * 2] * 2


def test_gtpo_counts_only_responses_that_reach_the_position():
    tokens = statistics([[1.0, 2.0], [3.0, 7.0]], advantages=[1.0, 1.0], group_size=2)
    found = weigh("gtpo", [[T, T]] * 2, tokens, [[True, True], [True, False]], mix=1.0)
    assert found.flatten().tolist() == pytest.approx([2 / 3, 4 / 3, 1.0, 0.0])


def test_actfocus_by_hand():
    """Action entropies 1 and 3, mean 2: raw 1 + 0.5 * (0.5 - 1) = 0.75 and 1.25; thought 0.5."""
    tokens = statistics([[9.0, 1.0, 3.0]])
    found = weigh("actfocus", [[T, N, P]], tokens, reasoning=0.5)
    assert found[0].tolist() == pytest.approx([0.5 * 1.2, 0.75 * 1.2, 1.25 * 1.2])


@pytest.mark.parametrize("name", ["stare", "top_entropy", "gtpo", "actfocus"])
def test_without_token_statistics_they_say_so(name):
    with pytest.raises(ValueError, match=f"{type(get_scheme(name)).__name__} weighs tokens one by"):
        weigh(name, [[T, N]], None)


ENTROPY = RegionEntropy(torch.full((len(Region),), 0.5).double(), torch.ones(len(Region)).double())


def test_a_product_multiplies_and_normalises_once():
    regions = torch.tensor([[T, T, N, P]])
    mask = torch.ones_like(regions, dtype=torch.bool)
    tokens = statistics([[0.1, 0.9, 0.1, 0.1]])
    one, other = get_scheme("rest", w_max=4.0), get_scheme("top_entropy", share=0.5)
    batch = TokenBatch(regions, mask, 0.5, ENTROPY, tokens)
    raw = one(batch) * other(batch)
    options = {"rest": {"w_max": 4.0}, "top_entropy": {"share": 0.5}}
    both = get_scheme("rest*top_entropy", **options)
    found = both(batch)
    assert torch.allclose(found, raw / raw.mean())
    assert both.reads_tokens and both.statistic == one.statistic


def test_a_product_with_uniform_is_the_other_scheme():
    regions = torch.tensor([[T, N, P, 0]])
    mask = torch.tensor([[True, True, True, False]])
    batch = TokenBatch(regions, mask, 0.3, ENTROPY)
    assert torch.allclose(get_scheme("rest*uniform")(batch), get_scheme("rest")(batch))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("rest*official", {}, "different regions"),
        ("rest*stares", {}, "did you mean 'stare'"),
        ("rest*stare", {"share": 0.5}, "scheme in the product"),
        ("rest*stare", {"stare": 0.5}, "must be that scheme's options"),
        ("rest*stare", {"stare": {"shares": 0.5}}, "did you mean 'share'"),
        ("stare", {"share": 0}, "0 < share"),
        ("stare", {"target_entropy": "half"}, "target_entropy >= 0 nats, or null; got 'half'"),
        ("stare", {"target_entropy": -0.1}, "target_entropy >= 0 nats"),
        ("stare", {"target_entropy": True}, "target_entropy >= 0 nats"),
        ("stare", {"reads_tokens": False}, "reads_tokens"),
        ("gtpo", {"mix": 2.0}, "0 <= mix <= 1"),
        ("actfocus", {"reasoning": -1.0}, "reasoning >= 0"),
        ("top_entropy", {"share": 1.5}, "0 < share <= 1"),
    ],
)
def test_wrong_options_are_named(name, options, words):
    with pytest.raises(InputError, match=words):
        get_scheme(name, **options)
