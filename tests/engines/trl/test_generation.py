"""Which tokens of a batch the loss counts, and which the policy sampled."""

import torch

from toolrest.engines.trl.generation import counted_tokens, sampled_tokens


def test_a_row_that_the_loss_leaves_out_was_sampled():
    """Two rows of three and two tokens; the first is cut and left out."""
    batch = {
        "completion_ids": torch.tensor([[5, 6, 7], [5, 9, 0]]),
        "completion_mask": torch.tensor([[0, 0, 0], [1, 1, 0]]),
    }
    assert counted_tokens(batch).tolist() == [[False] * 3, [True, True, False]]
    assert sampled_tokens(batch, [3, 2]).tolist() == [[True] * 3, [True, True, False]]


def test_results_of_tools_are_neither():
    batch = {
        "completion_ids": torch.tensor([[5, 6, 7]]),
        "completion_mask": torch.tensor([[1, 1, 1]]),
        "tool_mask": torch.tensor([[1, 0, 1]]),
    }
    assert counted_tokens(batch).tolist() == [[True, False, True]]
    assert sampled_tokens(batch, [3]).tolist() == [[True, False, True]]
