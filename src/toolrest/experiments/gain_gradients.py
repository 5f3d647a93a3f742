"""Gradients of a prompt's responses: weighted sums of their tokens' scores, by region."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import DynamicCache

from toolrest.experiments.gain_methods import Sampled
from toolrest.experiments.trajectories import Responses

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def group_logits(model: PreTrainedModel, prompt: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The logits that each token of a group was drawn from, with their graph, [G, T, V].

    The prompt has one forward, whose keys and values all responses share; gradients pass through
    them.

    Args:
        prompt: [L].
        ids: responses, padded at their ends, which no token before sees, [G, T].
    """
    cache = DynamicCache()
    first = model(input_ids=prompt[None], past_key_values=cache, use_cache=True, logits_to_keep=1)
    logits = first.logits[:, -1:].expand(len(ids), -1, -1)
    if ids.shape[1] == 1:
        return logits
    cache.batch_repeat_interleave(len(ids))
    rest = model(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True)
    return torch.cat((logits, rest.logits), dim=1)


def padded(responses: Responses) -> tuple[torch.Tensor, torch.Tensor]:
    """The responses' ids, int64, and which of them are tokens, bool, [N, T] each."""
    longest = max(map(len, responses.ids))
    ids = torch.zeros(len(responses.ids), longest, dtype=torch.long)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, each in enumerate(responses.ids):
        ids[row, : len(each)] = torch.tensor(each)
        mask[row, : len(each)] = True
    return ids, mask


class PromptGradients:
    """The gradients of a policy's responses, prompt by prompt.

    Args:
        model: the policy; the gradient is of its parameters that are trained, D numbers.
        responses: of P prompts.
        temperature: that they were sampled at.
        on_prompt: called after each pass over a prompt.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        responses: Responses,
        temperature: float,
        on_prompt: Callable[[], object] = lambda: None,
    ) -> None:
        self._model, self._responses, self._temperature = model, responses, temperature
        self._on_prompt = on_prompt
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._ids, self._mask = padded(responses)
        self.size = sum(p.numel() for p in self._parameters)

    def _distributions(self, prompt: int) -> tuple[slice, torch.Tensor, torch.Tensor]:
        """(rows, ln p of all tokens [G, T, V], of those that came [G, T]) of a prompt's group."""
        size = self._responses.group_size
        rows = slice(prompt * size, (prompt + 1) * size)
        longest = int(self._mask[rows].sum(1).max())
        device = self._model.device
        ids = self._ids[rows, :longest].to(device)
        given = torch.tensor(self._responses.prompts[prompt], device=device)
        logits = group_logits(self._model, given, ids).float() / self._temperature
        logps = torch.log_softmax(logits, dim=-1)
        return rows, logps, logps.gather(2, ids[:, :, None])[:, :, 0]

    @torch.no_grad()
    def sampled(self) -> Sampled:
        """The responses with what the policy says of each token."""
        found = torch.zeros(3, *self._ids.shape, dtype=torch.float64)
        for prompt in range(len(self._responses.prompts)):
            rows, logps, chosen = self._distributions(prompt)
            p = logps.exp()
            values = torch.stack((-chosen, -(p * logps).sum(-1), 1 - p.square().sum(-1)))
            found[:, rows, : chosen.shape[1]] = values.double().cpu()
            self._on_prompt()
        surprisal, entropy, collision = torch.where(self._mask, found, 0.0)
        return Sampled(self._responses, self._ids, self._mask, surprisal, entropy, collision)

    def fill(
        self, store: torch.Tensor, coefficients: torch.Tensor, parts: torch.Tensor | None = None
    ) -> None:
        """Write the gradient of each prompt's sum_{i, t} c_{i,t} ln pi(a_{i,t}), part by part.

        Args:
            store: receives it, [K, P, D].
            coefficients: c, [N, T].
            parts: which of the K parts a token counts for, int64, [N, T]; None: all are of one.
        """
        store.zero_()
        for prompt in range(store.shape[1]):
            rows = slice(*(self._responses.group_size * n for n in (prompt, prompt + 1)))
            if coefficients[rows].any():
                _, _, chosen = self._distributions(prompt)
                width = chosen.shape[1]
                wanted = coefficients[rows, :width].to(chosen.device)
                place = None if parts is None else parts[rows, :width].to(chosen.device)
                self._fill_prompt(store[:, prompt], chosen, wanted, place)
            self._on_prompt()

    def _fill_prompt(
        self,
        store: torch.Tensor,
        chosen: torch.Tensor,
        wanted: torch.Tensor,
        parts: torch.Tensor | None,
    ) -> None:
        for part in range(len(store)):
            own = wanted if parts is None else torch.where(parts == part, wanted, 0.0)
            if not own.any():
                continue
            gradients = torch.autograd.grad(
                (own.float() * chosen).sum(),
                self._parameters,
                retain_graph=True,
                materialize_grads=True,
            )
            flat = [cast(Any, gradient).reshape(-1).cpu() for gradient in gradients]
            torch.cat(flat, out=store[part])
