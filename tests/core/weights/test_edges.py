"""Defaults, bounds and borders of the schemes, by hand."""

import math

import pytest
import torch

from toolrest.core.regions import Region
from toolrest.core.weights import (
    Product,
    RegionEntropy,
    Rest,
    Statistic,
    TokenBatch,
    TokenStatistics,
    get_scheme,
    normalise,
    scheme_names,
)
from toolrest.errors import InputError

pytestmark = pytest.mark.stored_numbers
T, N, P, F = Region.REASONING, Region.NAME, Region.PARAMETERS, Region.FORMAT


def measured(**means):
    """(mean, tokens) of each named region."""
    total, count = torch.zeros(len(Region)).double(), torch.zeros(len(Region)).double()
    for name, (mean, tokens) in means.items():
        total[Region[name]], count[Region[name]] = mean * tokens, tokens
    return RegionEntropy(total, count)


def tokens(entropy, surprisal=None, advantages=None, group_size=1, ids=None):
    entropy = torch.tensor(entropy)
    return TokenStatistics(
        ids=torch.tensor(ids) if ids else torch.zeros(entropy.shape, dtype=torch.int64),
        entropy=entropy,
        surprisal=torch.tensor(surprisal) if surprisal else entropy,
        advantages=torch.tensor(advantages or [1.0] * len(entropy)),
        group_size=group_size,
    )


def weigh(scheme, regions, given=None, mask=None):
    regions = torch.tensor(regions)
    mask = torch.ones_like(regions, dtype=torch.bool) if mask is None else torch.tensor(mask)
    return scheme(TokenBatch(regions, mask, token_statistics=given)).tolist()


def scaled(row):
    """To a mean of 1."""
    mean = sum(row) / len(row)
    return pytest.approx([weight / mean for weight in row], rel=1e-5)


def test_a_mean_as_small_as_delta_is_halved():
    mask = torch.tensor([[True, False], [True, True]])
    raw = torch.tensor([[1e-8, 9.0], [1e-8, 1e-8]]).double()
    assert normalise(raw, mask).tolist() == [[0.5, 0.0], [0.5, 0.5]]


def test_a_row_of_one_token_weighs_one():
    mask = torch.tensor([[False, True, False]])
    assert normalise(torch.tensor([[7.0, 3.0, 7.0]]), mask).tolist() == [
        [0.0, pytest.approx(1.0), 0.0]
    ]


@pytest.mark.parametrize("name", scheme_names())
def test_what_a_scheme_reads(name):
    scheme = get_scheme(name)
    assert scheme.statistic == (Statistic.ENTROPY if name == "rest" else None)
    assert scheme.reads_tokens == (name in ("stare", "top_entropy", "gtpo", "actfocus", "contrast"))
    assert scheme.scaffolding == (Region.OTHER if name == "official" else Region.FORMAT)


@pytest.mark.parametrize("name", scheme_names())
def test_whether_a_scheme_reads_tokens_is_no_option(name):
    with pytest.raises(InputError, match="reads_tokens"):
        get_scheme(name, reads_tokens=True)


def test_the_average_follows_by_its_decay():
    old, new = measured(FORMAT=(1.0, 4)), measured(FORMAT=(3.0, 8))
    followed = old.ema_update(new, 0.75)
    assert followed.total[F] == 0.75 * 4 + 0.25 * 24
    assert followed.count[F] == 0.75 * 4 + 0.25 * 8
    both = old + new
    assert (both.total[F], both.count[F]) == (28, 12)


def test_sums_and_counts_are_kept_in_float64():
    exact = RegionEntropy.from_lists({"total": [0.1] * 6, "count": [3.0] * 6})
    assert exact.total.dtype == exact.count.dtype == torch.float64
    assert exact.total[0].item() == 0.1
    many = torch.full((1, 3000), 0.1, dtype=torch.float32)
    where = torch.full((1, 3000), int(F))
    found = RegionEntropy.measure(many, where, torch.ones(1, 3000))
    assert found.total[F].item() == pytest.approx(3000 * many[0, 0].item(), rel=1e-12)
    assert RegionEntropy.zero().total.dtype == torch.float64
    assert RegionEntropy.zero().count.tolist() == [0.0] * 6


def test_rest_by_hand_with_its_defaults():
    """Raw 1 / (1 - e^-H) of FORMAT, NAME, PARAMETERS, REASONING; 4, 1, 2 and 3 tokens."""
    entropy = measured(FORMAT=(0.5, 4), NAME=(0.05, 1), PARAMETERS=(1.0, 2), REASONING=(3.0, 3))
    raw = {h: 1 / (1 - math.exp(-h)) for h in (0.5, 0.05, 1.0, 3.0)}
    mean = (4 * raw[0.5] + raw[0.05] + 2 * raw[1.0] + 3 * raw[3.0]) / 10
    start = Rest().region_weights(entropy, 0.0)
    assert start[F].item() == pytest.approx(raw[0.5] / mean)
    assert start[N].item() == 2.0  # clipped: raw is 20.5, the mean 4.2
    assert start[T].item() == 0.5  # clipped: 1.05
    later = Rest().region_weights(entropy, 0.6)
    assert later[F].item() == pytest.approx(max(0.5, raw[0.5] / mean - 0.3))
    assert later[P].item() == pytest.approx(max(0.5, raw[1.0] / mean) + 0.3)
    assert later[T].item() == pytest.approx(0.8)
    assert later[Region.OTHER] == later[Region.RESPONSE] == 1.0


def test_rest_stays_within_its_bounds_at_the_end():
    entropy = measured(FORMAT=(2.0, 1), PARAMETERS=(0.1, 1), REASONING=(0.1, 1))
    end = Rest().region_weights(entropy, 1.0)
    assert (end[F].item(), end[P].item(), end[T].item()) == (
        0.5,
        pytest.approx(min(2.0, Rest().region_weights(entropy, 0.0)[P].item() + 0.5)),
        pytest.approx(min(2.0, Rest().region_weights(entropy, 0.0)[T].item() + 0.5)),
    )
    steep = Rest(parameters_rate=9.0, reasoning_rate=9.0, format_rate=9.0)
    assert steep.region_weights(entropy, 1.0)[[F, P, T]].tolist() == [0.5, 2.0, 2.0]


def test_an_entropy_of_nothing_counts_as_a_millionth_of_a_nat():
    scheme = Rest(rule="inverse_entropy", w_min=0.0, w_max=1e9)
    found = scheme.region_weights(measured(NAME=(0.0, 1), FORMAT=(1.0, 1)), 0.0)
    assert (found[N] / found[F]).item() == pytest.approx(1e6)


@pytest.mark.parametrize("rate", ["format_rate", "parameters_rate", "reasoning_rate"])
def test_rates_may_be_0_and_not_less(rate):
    assert getattr(get_scheme("rest", **{rate: 0.0}), rate) == 0
    with pytest.raises(InputError, match="negative"):
        get_scheme("rest", **{rate: -0.1})


def test_bounds_of_rest_may_be_equal_or_0_and_not_less():
    assert get_scheme("rest", w_min=0.0, w_max=0.0).w_max == 0
    assert get_scheme("rest", w_min=2.0, w_max=2.0).w_min == 2
    with pytest.raises(InputError, match="w_min"):
        get_scheme("rest", w_min=-0.1)


def test_stare_by_hand_with_its_defaults():
    """Of the good response's counted tokens 3 to 6 the quantile 0.9 is 5.7: one is surprising,
    whatever the bad response's are.
    """
    surprisal = [[7.0, 8.0, 9.0, 9.0, 9.0], [3.0, 4.0, 5.0, 6.0, 9.0]]
    mask = [[True] * 3 + [False] * 2, [True] * 4 + [False]]
    entropy = [[0.4] * 3 + [9.0] * 2, [0.5] * 4 + [9.0]]  # the mean of what counts is 0.457
    given = tokens(entropy, surprisal, [0.0, 1.0])
    found = weigh(get_scheme("stare", target_entropy=0.46), [[T, T, P, P, P]] * 2, given, mask)
    assert found[0] == [pytest.approx(1.0)] * 3 + [0.0] * 2
    assert found[1][:4] == scaled([1.0, 1.0, 1.0, 1.1])


def test_stare_boosts_what_equals_the_border():
    """The quantile 0.75 of 0 to 4 is 3."""
    given = tokens([[0.1] * 5], [[0.0, 1.0, 2.0, 3.0, 4.0]])
    found = weigh(get_scheme("stare", share=0.25, target_entropy=0.5), [[T] * 5], given)
    assert found[0] == scaled([1, 1, 1, 1.1, 1.1])


def test_stare_is_off_at_its_target_and_boosts_no_advantage_of_0():
    scheme = get_scheme("stare", target_entropy=0.5)
    at = tokens([[0.5, 0.5, 0.5]], [[0.0, 1.0, 9.0]], [1.0])
    assert weigh(scheme, [[T, T, P]], at) == [[pytest.approx(1.0)] * 3]
    nothing = tokens([[0.1, 0.1, 0.1]], [[0.0, 1.0, 9.0]], [0.0])
    assert weigh(scheme, [[T, T, P]], nothing) == [[pytest.approx(1.0)] * 3]
    unknown = tokens([[float("nan")] * 3], [[0.0, 1.0, 9.0]], [1.0])
    assert weigh(scheme, [[T, T, P]], unknown) == [[pytest.approx(1.0)] * 3]


def test_stare_without_a_token_weighs_nothing():
    given = tokens([[0.1, 0.1]])
    assert weigh(get_scheme("stare"), [[T, T]], given, [[False, False]]) == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("stare", {"share": 1.5}),
        ("stare", {"boost": -0.1}),
        ("stare", {"share": 0.0}),
        ("top_entropy", {"share": 0.0}),
        ("gtpo", {"mix": -0.1}),
        ("gtpo", {"mix": 1.1}),
        ("actfocus", {"reasoning": -0.1}),
        ("actfocus", {"energy": -0.1}),
        ("actfocus", {"energy": 1.1}),
        ("contrast", {"floor": 0.0}),
        ("regional", {"name": -0.1}),
        ("regional", {"other": float("inf")}),
    ],
)
def test_options_out_of_bounds_are_named(name, options):
    with pytest.raises(InputError, match=f"need .*{next(iter(options))}"):
        get_scheme(name, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("stare", {"share": 1.0}),
        ("stare", {"boost": 0.0}),
        ("stare", {"target_entropy": 0.0}),
        ("top_entropy", {"share": 1.0}),
        ("gtpo", {"mix": 0.0}),
        ("gtpo", {"mix": 1.0}),
        ("actfocus", {"reasoning": 0.0}),
        ("actfocus", {"energy": 0.0}),
        ("actfocus", {"energy": 1.0}),
        ("contrast", {"floor": 0.01}),
        ("regional", {"name": 0.0}),
    ],
)
def test_options_at_their_bounds_are_taken(name, options):
    [(option, value)] = options.items()
    assert getattr(get_scheme(name, **options), option) == value


def test_top_entropy_keeps_a_fifth():
    """Of seven reasoning tokens 0 to 6 the quantile 0.8 is 4.8; the masked one does not count."""
    entropy = [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 9.0, 0.0]]
    mask = [[True] * 7 + [False, True]]
    found = weigh(get_scheme("top_entropy"), [[T] * 8 + [N]], tokens(entropy), mask)
    assert found[0] == pytest.approx([0, 0, 0, 0, 0, 8 / 3, 8 / 3, 0, 8 / 3])


def test_top_entropy_keeps_what_equals_the_border():
    """The quantile 0.75 of 0 to 4 is 3."""
    given = tokens([[0.0, 1.0, 2.0, 3.0, 4.0]])
    found = weigh(get_scheme("top_entropy", share=0.25), [[T] * 5], given)
    assert found[0] == pytest.approx([0, 0, 0, 2.5, 2.5])


def test_top_entropy_without_reasoning_is_uniform():
    found = weigh(get_scheme("top_entropy"), [[N, P]], tokens([[0.1, 5.0]]))
    assert found == [[pytest.approx(1.0)] * 2]


def test_gtpo_by_hand_with_its_default():
    """Ratios 0.5 and 1.5 at position 0, 1 and 1 at position 1; half of each weight is 1."""
    given = tokens([[1.0, 1.0], [3.0, 1.0]], advantages=[1.0, 1.0], group_size=2)
    found = weigh(get_scheme("gtpo"), [[T, T], [T, T]], given)
    assert found == [scaled([0.75, 1.0]), scaled([1.25, 1.0])]


def test_gtpo_takes_certainty_for_a_thousandth_of_a_nat():
    """Entropies 0 and 0.003 count as 0.001 and 0.003: mean 0.002, ratios 1/2 and 3/2."""
    given = tokens([[0.0, 1.0], [0.003, 1.0]], advantages=[1.0, 1.0], group_size=2)
    found = weigh(get_scheme("gtpo", mix=1.0), [[T, T], [T, T]], given)
    assert found == [scaled([0.5, 1.0]), scaled([1.5, 1.0])]


def test_gtpo_keeps_groups_apart():
    given = tokens([[1.0, 1.0], [3.0, 1.0], [8.0, 1.0], [8.0, 1.0]], group_size=2)
    found = weigh(get_scheme("gtpo", mix=1.0), [[T, T]] * 4, given)
    assert found == [scaled([0.5, 1]), scaled([1.5, 1]), scaled([1, 1]), scaled([1, 1])]


def test_actfocus_by_hand_with_its_defaults():
    """Action entropies 1 and 3, of two rows; the masked one and the reasoning's do not count."""
    given = tokens([[9.0, 1.0, 9.0], [0.0, 3.0, 9.0]])
    mask = [[True, True, False], [True, True, False]]
    found = weigh(get_scheme("actfocus"), [[T, N, P], [T, P, P]], given, mask)
    assert found[0][:2] == scaled([0.1, 0.75])
    assert found[1][:2] == scaled([0.1, 1.25])


def test_actfocus_of_certain_actions_is_not_nothing():
    """No entropy at all: H / mean H is 0 over the least mean, so the weight is 1 - energy."""
    found = weigh(get_scheme("actfocus"), [[T, N, P]], tokens([[1.0, 0.0, 0.0]]))
    assert found[0] == scaled([0.1, 0.5, 0.5])


def test_actfocus_of_a_single_action():
    found = weigh(get_scheme("actfocus"), [[T, N]], tokens([[9.0, 2.0]]))
    assert found[0] == scaled([0.1, 1.0])


def test_contrast_takes_no_id_in_one_region_for_another_in_the_next():
    """Ids one number of regions apart, in regions one apart."""
    given = tokens(
        [[0.0] * 2] * 2, advantages=[1.0, -1.0], group_size=2, ids=[[5, len(Region)], [5, 0]]
    )
    found = weigh(get_scheme("contrast"), [[T, N], [T, N + 1]], given)
    assert found == [scaled([0.25, 1.25])] * 2


def test_contrast_by_hand_with_its_default_and_groups_apart():
    """Group 1: a good and a bad response share 5 and differ in 7 and 8; group 2 has no good one."""
    given = tokens(
        [[0.0] * 2] * 4,
        advantages=[1.0, -1.0, -1.0, 0.0],
        group_size=2,
        ids=[[5, 7], [5, 8], [5, 7], [6, 6]],
    )
    found = weigh(get_scheme("contrast"), [[N, P]] * 4, given)
    assert found == [*[scaled([0.25, 1.25])] * 2, *[scaled([1, 1])] * 2]


def test_contrast_counts_a_token_once_a_response():
    """The good response writes 5 three times, one of two bad ones does once: |1 - 1/2|."""
    given = tokens(
        [[0.0] * 3] * 3,
        advantages=[1.0, -1.0, -1.0],
        group_size=3,
        ids=[[5, 5, 5], [5, 6, 6], [6, 6, 6]],
    )
    found = weigh(get_scheme("contrast", floor=0.5), [[P] * 3] * 3, given)
    assert found == [scaled([1, 1, 1]), scaled([1.0, 1.5, 1.5]), scaled([1, 1, 1])]


def test_regional_weights_are_1_where_none_is_given():
    for region in Region:
        found = weigh(get_scheme("regional", **{region.name.lower(): 3.0}), [list(Region)])
        assert found[0] == scaled([3.0 if other == region else 1.0 for other in Region])


def test_official_is_at_its_start_and_its_end():
    regions = torch.tensor([[N, F, P, T]])
    mask = torch.ones_like(regions, dtype=torch.bool)
    for progress, rising in ((0.0, 0.6), (1.0, 0.81)):
        found = get_scheme("official")(TokenBatch(regions, mask, progress))[0].tolist()
        assert found == scaled([1.2, 1.0, rising, rising])


@pytest.mark.parametrize("value", [Region.NAME, "name", "NAME"])
def test_a_region_by_value_or_name_in_any_case(value):
    assert get_scheme("rest", scaffolding=value).scaffolding is Region.NAME


@pytest.mark.parametrize(
    ("options", "fits"),
    [({"w_max": 3}, True), ({"w_max": True}, False), ({"rule": "inverse_entropy"}, True)],
)
def test_options_are_of_their_default_s_kind(options, fits):
    if fits:
        get_scheme("rest", **options)
    else:
        with pytest.raises(InputError, match="not of the kind"):
            get_scheme("rest", **options)


def test_a_product_reads_what_its_schemes_read():
    for name, statistic, reads in (
        ("uniform*regional", None, False),
        ("uniform*gtpo", None, True),
        ("uniform*rest", Statistic.ENTROPY, False),
        ("gtpo*rest", Statistic.ENTROPY, True),
    ):
        product = get_scheme(name)
        assert (product.statistic, product.reads_tokens) == (statistic, reads)
        assert product.scaffolding is Region.FORMAT
    with pytest.raises(ValueError, match="different statistics"):
        Product((Rest(), Rest(rule="collision")))
