"""The TRL engine on the golden rollouts; tests/engines/verl has the verl engine on the same."""

import pytest
import torch
from golden_rollouts import CLOSE, read, run_trl

pytestmark = pytest.mark.stored_numbers


@pytest.fixture(scope="module")
def replayed():
    pytest.importorskip("trl")
    return run_trl([[row["ids"] for row in generation["rows"]] for generation in read()])


def test_the_trl_engine_gives_the_golden_weights(replayed):
    golden = read()
    assert [g["step"] for g in replayed] == [g["step"] for g in golden] == [0, 1, 2]
    for made, expected in zip(replayed, golden, strict=True):
        for row, wanted in zip(made["rows"], expected["rows"], strict=True):
            assert row["ids"] == wanted["ids"]
            assert row["mask"] == wanted["mask"]
            assert row["advantage"] == pytest.approx(wanted["advantage"], rel=1e-5, abs=1e-6)
            weights, right = torch.tensor(row["weights"]), torch.tensor(wanted["weights"])
            torch.testing.assert_close(weights, right, **CLOSE)


def test_the_trl_engine_gives_the_golden_entropy_average():
    pytest.importorskip("trl")
    golden = read()
    ids = [[row["ids"] for row in generation["rows"]] for generation in golden]
    for made, expected in zip(run_trl(ids, "online"), golden, strict=True):
        for region, wanted in zip(made["average"], expected["average"], strict=True):
            assert region == (wanted if wanted is None else pytest.approx(wanted, rel=1e-4))
        for row, wanted in zip(made["rows"], expected["rows"], strict=True):
            weights, right = torch.tensor(row["weights"]), torch.tensor(wanted["online_weights"])
            torch.testing.assert_close(weights, right, **CLOSE)


def test_the_golden_average_counts_the_rollouts_that_are_weighed():
    """The first generation's average gives the weights of its own rollouts; later ones part."""
    first, second, third = read()
    for row in first["rows"]:
        assert row["online_weights"] == pytest.approx(row["weights"], rel=1e-4)
    for before, now in ((first, second), (second, third)):
        assert before["average"] != now["average"]
        assert any(
            row["online_weights"] != pytest.approx(row["weights"], rel=1e-3) for row in now["rows"]
        )


@pytest.mark.parametrize(
    "wrong",
    [torch.square, torch.sqrt, lambda w: w.roll(1), lambda w: w * 1.001, torch.ones_like],
    ids=["squared", "rooted", "of the token before", "a thousandth more", "none"],
)
def test_a_wrong_weighting_is_not_close(wrong):
    for generation in read():
        for row in generation["rows"]:
            right = torch.tensor(row["weights"])
            with pytest.raises(AssertionError):
                torch.testing.assert_close(wrong(right), right, **CLOSE)


def test_the_golden_rows_can_tell_a_wrong_weighting():
    for generation in read():
        for row in generation["rows"]:
            kept = [w for w, m in zip(row["weights"], row["mask"], strict=True) if m]
            assert sum(kept) / len(kept) == pytest.approx(1.0, abs=1e-5)
            assert max(kept) - min(kept) > 0.5
            assert all(w == 0 for w, m in zip(row["weights"], row["mask"], strict=True) if not m)
        assert any(0 in row["mask"] for row in generation["rows"])
