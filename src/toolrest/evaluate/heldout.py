"""Held-out evaluation with the rewards: sampled and greedy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from toolrest.data.prompts import render_prompt
from toolrest.data.sample import Sample
from toolrest.engines.common.ranks import ALONE, Ranks
from toolrest.engines.common.recipe_reward import recipe_reward
from toolrest.evaluate.generation import Decoding, generate
from toolrest.policy.speech import read_speech
from toolrest.recipe import Recipe
from toolrest.rollout.sampler import recipe_draw

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class HeldOutResult:
    """How a policy does on held-out samples."""

    exact_match: float
    """Share of sampled responses with the right blocks and exactly the right calls."""
    reward: float
    """Mean reward of the sampled responses on the constant ranges, from -3 to 4."""
    greedy_exact_match: float
    """The same share under greedy decoding."""
    greedy_reward: float
    """The same mean under greedy decoding."""
    format: float
    """Share of sampled responses with the right blocks."""
    n: int
    """Samples, one sampled and one greedy response each."""


def evaluate_heldout(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Sample],
    recipe: Recipe,
    on_progress: Callable[[int], None],
    ranks: Ranks = ALONE,
) -> tuple[HeldOutResult, list[dict[str, Any]]]:
    """Evaluate a policy.

    Args:
        on_progress: called with the number of responses so far, of two a sample.
        ranks: the processes that share the work; each gets the whole result.

    Returns:
        The result, and one row a response: the sample's identity, its question, the text,
        the breakdown, `cut` where it was cut at the length limit, and what it was scored by
        beside its ground truth: what the prompt had written of the reply, and, for a dialect that
        reads values by them, the tools.
    """
    reward = recipe_reward(recipe, "constant")
    speech = read_speech(tokenizer, reward.dialect, model.generation_config)
    openings = [speech.opening(render_prompt(sample, tokenizer)) for sample in samples]
    rows: list[dict[str, Any]] = []
    means: dict[str, tuple[float, float]] = {}
    formats: dict[str, float] = {}
    decodings = (("sampled", recipe_draw(recipe)), ("greedy", None))
    for number, (decoding, draw) in enumerate(decodings):
        before = number * len(samples)
        responses = generate(
            model,
            tokenizer,
            samples,
            Decoding(
                speech.stop_ids,
                recipe.rollout.max_response_tokens,
                draw,
                seed=recipe.seed,
                batch_size=recipe.evaluation.batch_size,
                sampler=recipe.rollout.sampler,
            ),
            lambda done, before=before: on_progress(before + done),
            ranks,
        )
        texts = [speech.vocabulary.text(ids) for ids in responses]
        scores = [
            reward.score(text, sample.ground_truth, prompt=opening or None, tools=sample.declared)
            for text, sample, opening in zip(texts, samples, openings, strict=True)
        ]
        means[decoding] = (
            sum(score.exact for score in scores) / len(scores),
            sum(score.total for score in scores) / len(scores),
        )
        formats[decoding] = sum(score.format for score in scores) / len(scores)
        rows += [
            {
                "identity": sample.identity,
                "decoding": decoding,
                "response": text,
                "ground_truth": sample.ground_truth,
                "question": _question(sample),
                "reward": asdict(score),
            }
            | ({} if ids and ids[-1] in speech.stop_ids else {"cut": True})
            | ({"opening": opening} if opening else {})
            | ({"tools": list(sample.declared)} if sample.declared else {})
            for sample, ids, text, score, opening in zip(
                samples, responses, texts, scores, openings, strict=True
            )
        ]
    result = HeldOutResult(
        *means["sampled"], *means["greedy"], format=formats["sampled"], n=len(samples)
    )
    return result, rows


def _question(sample: Sample) -> str:
    """What the user said last; "" where that is no text."""
    asked = [each.get("content") for each in sample.prompt if each.get("role") == "user"]
    return asked[-1] if asked and isinstance(asked[-1], str) else ""
