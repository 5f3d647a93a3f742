"""The TRL engine on the golden episodes; tests/engines/verl has the verl engine on the same."""

import pytest
import torch
from golden_episodes import CLOSE, CREDITS, read, run_trl

pytestmark = pytest.mark.stored_numbers


@pytest.mark.parametrize("credit", CREDITS)
def test_the_trl_engine_gives_the_golden_weights_and_credits(credit):
    pytest.importorskip("trl")
    golden = read()
    rows = run_trl(credit)
    for row, wanted, weighted in zip(rows, golden["rows"], golden["weighted"][credit], strict=True):
        assert (row["ids"], row["mask"]) == (wanted["ids"], wanted["mask"])
        assert row["episode"]["reward"] == wanted["episode"]["reward"]
        torch.testing.assert_close(
            torch.tensor(row["weights"]), torch.tensor(wanted["weights"]), **CLOSE
        )
        torch.testing.assert_close(torch.tensor(row["weighted"]), torch.tensor(weighted), **CLOSE)


def test_the_golden_rows_can_tell_a_wrong_rule():
    golden = read()
    rewards = [row["episode"]["reward"] for row in golden["rows"]]
    assert None in rewards and len(set(rewards)) > 2
    assert max(len(row["episode"]["turns"]) for row in golden["rows"]) > 2
    for one, other in zip(*golden["weighted"].values(), strict=True):
        if any(one):
            assert one != pytest.approx(other, rel=1e-2)
