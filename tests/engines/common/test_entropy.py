"""The region entropies that an engine weighs by, step after step."""

import json

import pytest
import torch

from toolrest.core.regions import Region
from toolrest.core.weights import RegionEntropy
from toolrest.engines.common.entropy import EntropyTracker, StartEntropy

F = int(Region.FORMAT)


def entropy(nats, tokens=1):
    found = RegionEntropy.zero()
    found.total[F], found.count[F] = nats * tokens, tokens
    return found


def mean(found):
    return found.mean[F].item()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # 1 nat; then 2 batches of a step with 3 and 5 nats; a decay of 3/4.
        ("online", [1.0, (0.75 * 1 + 0.25 * 3) / 1, (0.75 * 1 + 0.25 * 8) / (0.75 + 0.5)]),
        ("static", [1.0, 1.0, 1.0]),
        ("exact", [1.0, 3.0, 5.0]),
    ],
)
def test_each_source_by_hand(source, expected):
    tracker = EntropyTracker(source, 0.75)
    given = ((1, 1.0), (2, 3.0), (2, 5.0))
    found = [mean(tracker.add(step, entropy(nats))) for step, nats in given]
    assert found == pytest.approx(expected)


def test_only_a_static_average_is_known_before_it_is_measured():
    for source in ("online", "static", "exact"):
        tracker = EntropyTracker(source)
        assert tracker.known(1) is None
        tracker.add(1, entropy(2.0))
        assert tracker.known(1) is None  # another batch of the first step counts
        known = tracker.known(2)
        assert (known is not None) == (source == "static")
        assert known is None or mean(known) == 2.0


def test_a_state_goes_on_through_json():
    straight = EntropyTracker("online", 0.9)
    for step, nats in ((1, 1.0), (2, 4.0)):
        straight.add(step, entropy(nats))
    resumed = EntropyTracker("online", 0.9)
    resumed.from_dict(json.loads(json.dumps(straight.to_dict())))
    found = [tracker.add(3, entropy(2.5, tokens=7)) for tracker in (straight, resumed)]
    assert torch.equal(found[0].total, found[1].total)
    assert torch.equal(found[0].count, found[1].count)


def test_a_state_of_an_older_trl_run_names_no_step():
    tracker = EntropyTracker("online", 0.75)
    tracker.from_dict({"followed": entropy(1.0).to_lists(), "window": entropy(9.0).to_lists()})
    assert mean(tracker.add(5, entropy(3.0))) == pytest.approx(1.5)


def test_the_start_is_the_first_step_of_which_batches_add_up():
    """2 tokens of 1 nat and 6 of 3: a mean of 2.5. What follows changes nothing."""
    start = StartEntropy()
    start.add(1, RegionEntropy.zero())  # every environment failed: no token, no start
    assert start.before(2) is None and start.to_dict() is None
    start.add(2, entropy(1.0, tokens=2))
    assert start.before(2) is None
    start.add(2, entropy(3.0, tokens=6))
    assert start.before(2) is None
    assert start.before(3) == 2.5
    start.add(3, entropy(9.0))
    assert start.before(4) == 2.5


def test_the_start_goes_on_through_json():
    straight = StartEntropy()
    straight.add(1, entropy(0.1, tokens=3))
    resumed = StartEntropy()
    resumed.from_dict(json.loads(json.dumps(straight.to_dict())))
    assert resumed.before(2) == straight.before(2) == pytest.approx(0.1)
    older = StartEntropy()
    older.from_dict(None)
    older.add(7, entropy(0.4))
    assert older.before(7) is None and older.before(8) == pytest.approx(0.4)
