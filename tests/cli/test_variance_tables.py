"""Quotients of `toolrest variance` that say nothing are not printed as if they did."""

import pytest

from toolrest.cli.variance_tables import NOT_TOLD, _over_uniform


def row(signal, error, ratio=6.75):
    return {
        "signal": signal,
        "signal_error": error,
        "relative_ratio": ratio,
        "relative_ratio_error": 0.73,
    }


@pytest.mark.parametrize(
    ("signal", "error", "prompts", "told"),
    [
        (3.19, 1.0, 4, True),  # t of 3 degrees of freedom: 3.182
        (3.17, 1.0, 4, False),
        (2.0, 1.0, 60, False),  # 2.001
        (2.01, 1.0, 60, True),
        (-3.19, 1.0, 4, True),
        (0.0, 0.0, 4, False),
        (9.0, float("nan"), 2, False),
    ],
)
def test_a_quotient_needs_a_denominator_that_is_not_0(signal, error, prompts, told):
    found = _over_uniform(row(1.0, 0.1), row(signal, error), prompts)
    assert found == ("6.75 ± 0.73" if told else NOT_TOLD)


def test_equal_weights_are_once_themselves():
    uniform = row(0.0, 1.0, ratio=1.0)
    assert _over_uniform(uniform, uniform, 4).startswith("1.00")
