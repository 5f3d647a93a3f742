"""Noise and signal from batch to batch, by hand, and what the weights make of them."""

import json

import pytest
import torch

from toolrest.core.regions import Region
from toolrest.core.weights.signal_aware import SignalAware
from toolrest.engines.common.region_signal import SignalTracker

R = len(Region)


def batch(*, first: list[float], target: list[float]) -> torch.Tensor:
    """Sketches of which the first region's and the target's are not 0."""
    found = torch.zeros(R + 1, len(first))
    found[0], found[R] = torch.tensor(first), torch.tensor(target)
    return found


def test_moments_by_hand():
    """Decay 1/2, g = (1, 0), (0, 2), (3, 1) and u = (1, 1), (2, 0), (0, 1); weights 1/4, 1/2, 1.

    Q = (1/4 * 1 + 1/2 * 4 + 10) / 1.75. Products of different batches: <g1, u2> = 2, <g1, u3> = 0,
    <g2, u1> = 2, <g2, u3> = 2, <g3, u1> = 4, <g3, u2> = 6, weighed 1/8, 1/4, 1/8, 1/2, 1/4, 1/2:
    5.5 of 1.75.
    """
    tracker = SignalTracker(0.5)
    assert tracker.known().batches == 0
    tracker.add(batch(first=[1, 0], target=[1, 1]))
    known = tracker.known()
    assert (known.batches, known.noise[0, 0], known.signal[0]) == (1, 1, 0)
    tracker.add(batch(first=[0, 2], target=[2, 0]))
    tracker.add(batch(first=[3, 1], target=[0, 1]))
    known = tracker.known()
    assert known.noise[0, 0].item() == pytest.approx(12.25 / 1.75)
    assert known.signal[0].item() == pytest.approx(5.5 / 1.75)
    assert known.batches == pytest.approx(1.75**2 / 1.3125)
    assert not known.noise[1:].any()
    assert not known.signal[1:].any()


def test_noise_that_a_batch_shares_with_its_own_target_is_no_signal():
    """200 trackers of two batches of pure noise, of which u is g: the mean is 0 within 4 errors."""
    torch.manual_seed(0)
    found = []
    for _ in range(200):
        tracker = SignalTracker(0.9)
        for _ in range(2):
            noise = torch.randn(8).tolist()
            tracker.add(batch(first=noise, target=noise))
        found.append(tracker.known().signal[0])
    values = torch.stack(found)
    assert values.mean().abs() < 4 * values.std() / 200**0.5


def test_a_state_goes_on_bit_for_bit():
    torch.manual_seed(0)
    straight, resumed = SignalTracker(0.9), SignalTracker(0.9)
    batches = torch.randn(5, R + 1, 64)
    for each in batches[:3]:
        straight.add(each)
    resumed.from_dict(json.loads(json.dumps(straight.to_dict())))
    for tracker in (straight, resumed):
        for each in batches[3:]:
            tracker.add(each)
    assert straight.to_dict() == resumed.to_dict()
    assert torch.equal(straight.known().signal, resumed.known().signal)
    resumed.from_dict(None)
    assert resumed.to_dict() is None


def test_a_broken_state_is_refused():
    tracker = SignalTracker(0.9)
    tracker.add(torch.randn(R + 1, 8))
    state = tracker.to_dict()
    assert state is not None
    for broken in ({"sums": "###"}, {"sums": state["sums"][:-8]}, {"noise": [1.0]}):
        with pytest.raises((ValueError, RuntimeError)):
            SignalTracker(0.9).from_dict(state | broken)


@pytest.mark.parametrize("seed", range(5))
def test_a_region_of_pure_noise_ends_at_a_low_weight(seed):
    """The name's gradient points at the target, under as much noise; the reasoning's is noise."""
    torch.manual_seed(seed)
    aim, tracker = torch.randn(256), SignalTracker(0.95)
    for _ in range(40):
        sketches = torch.zeros(R + 1, 256)
        sketches[Region.NAME] = aim + torch.randn(256)
        sketches[Region.REASONING] = torch.randn(256)
        sketches[R] = aim + sketches[Region.REASONING] + torch.randn(256)
        tracker.add(sketches)
    found = SignalAware(w_min=0.0).region_weights(tracker.known())
    assert found[Region.REASONING] < 0.4
    assert found[Region.NAME] > 1.1
