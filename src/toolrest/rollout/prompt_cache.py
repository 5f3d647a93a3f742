"""Attention of response tokens over a prompt that several responses share, and its caches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import AttentionInterface
from transformers.cache_utils import CacheLayerMixin

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_BACKEND = "toolrest_shared_prefix"
NEVER = -1e30
"""Added to the scores of padding; finite, so that no row becomes NaN."""


class ResponseCache(CacheLayerMixin):
    """Keys and values of the response tokens, [B, heads, most, size], allocated once a turn.

    Args:
        rows: B, those that have ended included.
        most: columns.
    """

    def __init__(self, rows: int, most: int) -> None:
        super().__init__()
        self.most = most
        self.length = 0
        self.rows = self.all_rows = rows
        """Rows that go on, which are the first; and all of them."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.rows, heads, _, size = key_states.shape
        self.keys = key_states.new_empty(self.all_rows, heads, self.most, size)
        self.values = value_states.new_empty(self.all_rows, heads, self.most, size)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        end = self.length + key_states.shape[2]
        keys, values = self.keys[: self.rows], self.values[: self.rows]
        keys[:, :, self.length : end] = key_states
        values[:, :, self.length : end] = value_states
        self.length = end
        return keys[:, :, :end], values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.most

    def get_max_cache_shape(self) -> int:
        """What transformers 5.9 and 5.10 call it."""
        return self.most

    def move(
        self, sources: torch.Tensor, targets: torch.Tensor, rows: int, *, swap: bool = False
    ) -> None:
        """Copy rows `sources` to `targets`, then use the first `rows` rows.

        Args:
            swap: keep what was at `targets`, at `sources`.
        """
        if self.is_initialized:
            assert self.keys is not None and self.values is not None
            for states in (self.keys, self.values):
                used = states[:, :, : self.length]
                before = used[targets] if swap else None
                used[targets] = used[sources]
                if before is not None:
                    used[sources] = before
            self.rows = rows

    def begin(
        self, rows: torch.Tensor, columns: torch.Tensor, used: torch.Tensor, more: int
    ) -> None:
        """Begin another turn: keep some rows, and of each the columns that hold its tokens.

        Args:
            rows: those that are kept, [B'].
            columns: of each of them, int64, [B', S].
            used: which of these hold a token, bool, [B', S]; the others become 0.
            more: columns that the turn needs beyond them.
        """
        self.rows, self.length = columns.shape
        self.all_rows, self.most = self.rows, self.length + more
        if not self.is_initialized:
            return
        for name in ("keys", "values"):
            states = getattr(self, name)
            made = states.new_empty(self.rows, states.shape[1], self.most, states.shape[3])
            taken = columns[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
            kept = states[rows].gather(2, taken)
            made[:, :, : self.length] = kept.masked_fill(~used[:, None, :, None], 0.0)
            setattr(self, name, made)


class PromptCache:
    """Keys and values of P prompts, and the prompt of each of the batch's B rows."""

    def __init__(
        self,
        layers: list[tuple[torch.Tensor, torch.Tensor]],
        mask: torch.Tensor,
        owner: torch.Tensor,
    ) -> None:
        """
        Args:
            layers: keys and values of each layer, each [P, K, L, D].
            mask: which of the prompts' tokens are no padding, bool, [P, L].
            owner: the prompt of each row, int64, [B].
        """
        self.layers = layers
        self.bias = torch.zeros(mask.shape, dtype=layers[0][0].dtype, device=mask.device)
        self.bias.masked_fill_(~mask, NEVER)
        self.bias = self.bias[:, None, None, :]
        self.owner = owner
        """The prompt of each row, [B]."""
        self._drop_unused()

    def _drop_unused(self) -> None:
        """Keep only the prompts that have rows."""
        counts = torch.bincount(self.owner, minlength=len(self.bias))
        alive = counts > 0
        if not alive.all():
            self.layers = [(keys[alive], values[alive]) for keys, values in self.layers]
            self.bias = self.bias[alive]
            self.owner = (alive.cumsum(0) - 1)[self.owner]
        self.width = int(counts.max())
        """Rows of the largest group."""
        self._place()

    def _place(self) -> None:
        """Compute `slots`, the index of each row in the padded layout [P * width]."""
        ordered, order = self.owner.sort(stable=True)
        within = torch.arange(len(order), device=order.device)
        within = within - torch.searchsorted(ordered, ordered)
        self.slots = torch.empty_like(order)
        self.slots[order] = ordered * self.width + within
        """Index of each row in the padded layout, [B]."""
        places = torch.arange(len(self.bias) * self.width, device=order.device)
        self.plain = torch.equal(self.slots, places)
        """Whether the rows are in that layout already."""

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only these rows, and the prompts that still have any."""
        self.owner = self.owner[rows]
        self._drop_unused()

    def spread(self, rows: torch.Tensor) -> torch.Tensor:
        """[B, ..] -> [P, width, ..]; 0 where a group has fewer rows."""
        if not self.plain:
            padded = rows.new_zeros(len(self.bias) * self.width, *rows.shape[1:])
            padded[self.slots] = rows
            rows = padded
        return rows.view(len(self.bias), self.width, *rows.shape[1:])

    def gather(self, spread: torch.Tensor) -> torch.Tensor:
        """[P, width, ..] -> [B, ..], the reverse of `spread`."""
        rows = spread.reshape(-1, *spread.shape[2:])
        return rows if self.plain else rows[self.slots]


def _attend(  # noqa: PLR0913 -- the arguments of transformers' attention functions
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    prompts: PromptCache,
    own_bias: torch.Tensor | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Q query tokens a row over its prompt and its own tokens: two softmaxes joined into one.

    Args:
        query: [B, H, Q, D].
        key: of the row's own tokens, [B, K, S, D]; K divides H.
        value: the same, [B, K, S, D].
        own_bias: added to the scores of a row's own tokens, [B, Q, at least S]; None: a query sees
            all of them.
    """
    rows, heads, queries, size = query.shape
    far_keys, far_values = prompts.layers[cast(int, module.layer_idx)]
    kinds = far_keys.shape[1]
    grouped = query.reshape(rows, kinds, heads // kinds * queries, size) * scaling

    spread = prompts.spread(grouped).transpose(1, 2)  # [P, K, width, H / K * Q, D]
    shape = spread.shape
    far = torch.matmul(spread.reshape(shape[0], kinds, -1, size), far_keys.transpose(2, 3))
    far = far + prompts.bias  # [P, K, width * H / K * Q, L]
    far_peak = far.amax(-1, keepdim=True)
    far = torch.exp(far - far_peak)
    far_sum = far.sum(-1, keepdim=True)
    far_out = torch.matmul(far, far_values)
    joined = torch.cat((far_out, far_peak, far_sum), dim=-1)
    joined = joined.view(*shape[:4], size + 2).transpose(1, 2)  # [P, width, K, H / K * Q, D + 2]
    far_out, far_peak, far_sum = prompts.gather(joined).split((size, 1, 1), dim=-1)

    own = torch.matmul(grouped, key.transpose(2, 3))  # [B, K, H / K * Q, S]
    if own_bias is not None:
        bias = own_bias[:, :, : own.shape[3]].repeat(1, heads // kinds, 1)
        own = own + bias[:, None]
    peak = torch.maximum(own.amax(-1, keepdim=True), far_peak)
    own = torch.exp(own - peak)
    share = torch.exp(far_peak - peak)
    out = torch.matmul(own, value) + far_out * share
    out = out / (own.sum(-1, keepdim=True) + far_sum * share)
    return out.reshape(rows, heads, queries, size).transpose(1, 2), None


AttentionInterface.register(_BACKEND, cast(Any, _attend))


@contextmanager
def sharing(model: PreTrainedModel) -> Iterator[None]:
    """Inside the `with` block the model uses `_attend` as its attention."""
    before = model.config._attn_implementation
    model.set_attn_implementation(_BACKEND)
    try:
        yield
    finally:
        model.set_attn_implementation(cast(str, before))
