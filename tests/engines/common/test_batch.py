"""A generation's metrics by region, by hand."""

import pytest

from toolrest.core.regions import Region
from toolrest.engines.common.batch import signal_metrics


def test_shares_weights_and_signals_by_hand():
    """Two tokens of FORMAT with weights of 3 and signals of 1, six of REASONING with 12 and 7."""
    counts, weights, signals = ([0.0] * 6 for _ in range(3))
    counts[Region.FORMAT], counts[Region.REASONING] = 2.0, 6.0
    weights[Region.FORMAT], weights[Region.REASONING] = 3.0, 12.0
    signals[Region.FORMAT], signals[Region.REASONING] = 1.0, 7.0
    nothing = {
        f"{kind}/{name}": 0.0
        for name in ("other", "name", "parameters", "response")
        for kind in ("share", "signal")
    }
    assert signal_metrics(counts, weights, signals) == pytest.approx(
        {
            "share/format": 0.25,
            "weight/format": 1.5,
            "signal/format": 0.125,
            "share/reasoning": 0.75,
            "weight/reasoning": 2.0,
            "signal/reasoning": 0.875,
        }
        | nothing
    )


def test_without_a_token_or_a_signal_all_are_0():
    found = signal_metrics([0.0] * 6, [0.0] * 6, [0.0] * 6)
    assert set(found.values()) == {0.0}
    assert len(found) == 12


def test_a_signal_however_small_is_shared_out():
    signals = [0.0] * 6
    signals[Region.NAME], signals[Region.FORMAT] = 3e-12, 1e-12
    found = signal_metrics([1.0] * 6, [1.0] * 6, signals)
    assert found["signal/name"] == pytest.approx(0.75)
    assert signal_metrics([0.5] + [0.0] * 5, [1.0] * 6, signals)["share/other"] == 0.5
