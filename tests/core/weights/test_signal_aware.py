"""Weights by signal and noise of the regions' gradients, by hand and in a made-up case."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.regions import Region
from toolrest.core.weights import RegionSignal, TokenBatch, get_scheme
from toolrest.core.weights.signal_aware import SignalAware
from toolrest.errors import InputError

F, T = Region.FORMAT, Region.REASONING


def signal_of(noise: dict[Region, float], signal: dict[Region, float], batches=2.0):
    """Regions whose gradients are independent."""
    known = RegionSignal.nothing()
    for region, value in noise.items():
        known.noise[region, region] = value
        known.signal[region] = signal[region]
    return RegionSignal(known.noise, known.signal, batches)


def test_weights_by_hand():
    """Q = diag(1, 4), c = (1, 2): w ~ (1, 1/2), so 4/3 and 2/3 in a response with a token each."""
    scheme = get_scheme("signal", shrinkage=0)
    known = signal_of({F: 1.0, T: 4.0}, {F: 1.0, T: 2.0})
    expected = [2.5**0.5, 2.5**0.5 / 2]
    assert scheme.region_weights(known)[[F, T]].tolist() == pytest.approx(expected, rel=1e-6)
    batch = TokenBatch(torch.tensor([[F, T]]), torch.ones(1, 2).bool(), region_signal=known)
    assert scheme(batch).tolist() == [[pytest.approx(4 / 3), pytest.approx(2 / 3)]]


def test_shrinkage_by_hand():
    """After 3 batches s = 2 / 2 = 1: k = 3 / 5, and w = (Q + D)^-1 (c + k D 1)
    = ((1 + .6) / 2, (2 + 2.4) / 8) = (.8, .55), scaled to .64 + 4 * .3025 = 1.85 -> 5.
    Half of that counts, 2 / (2 + 2)."""
    known = signal_of({F: 1.0, T: 4.0}, {F: 1.0, T: 2.0}, batches=3.0)
    found = SignalAware(shrinkage=2.0).region_weights(known)
    scale = (5 / 1.85) ** 0.5
    assert found[[F, T]].tolist() == pytest.approx(
        [0.5 + 0.4 * scale, 0.5 + 0.275 * scale], rel=1e-6
    )


def test_weights_stay_within_their_bounds():
    known = signal_of({F: 1.0, T: 1.0}, {F: 1.0, T: 0.0})
    found = SignalAware(shrinkage=0.0, w_max=1.3).region_weights(known)
    assert found[F] == 1.3
    assert found[T] == 0.5


def test_absent_regions_weigh_one_and_so_do_all_where_nothing_is_known():
    known = signal_of({F: 1.0, T: 4.0}, {F: 1.0, T: 2.0})
    assert SignalAware().region_weights(known)[Region.NAME] == 1
    ones = [1.0] * len(Region)
    for nothing in (
        RegionSignal.nothing(),
        signal_of({F: 1.0, T: 4.0}, {F: 1.0, T: 2.0}, batches=1.0),
        signal_of({F: 1.0, T: 4.0}, {F: 1.0, T: -2.0}),
    ):
        assert SignalAware().region_weights(nothing).tolist() == ones


@given(
    st.lists(st.floats(0.01, 100), min_size=6, max_size=6),
    st.floats(0.01, 100),
    st.floats(0, 10),
    st.floats(1.5, 50),
)
def test_equal_signal_to_noise_gives_equal_weights(noise, ratio, shrinkage, batches):
    values = torch.tensor(noise, dtype=torch.float64)
    known = RegionSignal(values.diag(), ratio * values, batches)
    found = SignalAware(shrinkage=shrinkage).region_weights(known)
    assert torch.allclose(found, torch.ones_like(found), atol=1e-4)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_weights_have_no_unit(noise, signal):
    known = signal_of({F: 1.0, T: 4.0}, {F: 1.0, T: 2.0}, 5.0)
    scaled = RegionSignal(noise * known.noise, signal * known.signal, 5.0)
    found = SignalAware().region_weights(scaled)
    assert torch.allclose(found, SignalAware().region_weights(known), rtol=1e-5)


def test_nothing_known_is_grpo_bitwise():
    torch.manual_seed(0)
    regions = torch.randint(0, len(Region), (7, 331))
    mask = torch.arange(331) < torch.randint(1, 331, (7, 1))
    batch = TokenBatch(regions, mask, region_signal=RegionSignal.nothing())
    assert torch.equal(get_scheme("signal")(batch), get_scheme("uniform")(batch))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"shrinkage": -1.0}, "shrinkage >= 0"),
        ({"decay": 1.0}, "decay in"),
        ({"rows": 0}, "rows >= 1"),
        ({"rows": 1.5}, "whole number"),
        ({"w_min": 1.5}, "w_min <= 1"),
        ({"w_max": 0.5}, "1 <= w_max"),
    ],
)
def test_wrong_options_are_refused(options, text):
    with pytest.raises(InputError, match=text):
        get_scheme("signal", **options)


def test_a_product_is_refused():
    with pytest.raises(InputError, match="use it alone"):
        get_scheme("rest*signal")


def test_what_was_not_measured_is_said():
    batch = TokenBatch(torch.zeros(1, 1).long(), torch.ones(1, 1).bool())
    with pytest.raises(ValueError, match="region_signal is None"):
        get_scheme("signal")(batch)
    with pytest.raises(ValueError, match="reads_signal"):
        _ = batch.measured_signal
