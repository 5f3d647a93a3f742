"""A policy that answers in a dialogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from toolrest.core.dialects import Dialect, Reply, get_dialect
from toolrest.core.weights import RegionEntropy, Scheme, get_scheme
from toolrest.data.dialogue import Dialogue, Tool, UserTurn
from toolrest.data.prompts import render_chat
from toolrest.data.wording import Prompt, openai_tool, word
from toolrest.engines.common.recipe_reward import recipe_reward
from toolrest.errors import InputError
from toolrest.evaluate.generation import Decoding, sample_batch
from toolrest.evaluate.options import Options
from toolrest.evaluate.settings import dialect_and_style, positions_of
from toolrest.evaluate.target import Target
from toolrest.policy.speech import Speech, read_speech
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.policy.wording import Wording
from toolrest.report.inspect import token_entropies
from toolrest.report.inspection import Inspection, Response, inspect_response
from toolrest.rollout.draw import Draw
from toolrest.world.tasks import tools_text
from toolrest.world.thought_tasks import with_idle

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_TYPES = {"integer": "int", "number": "float"}
"""The world's words for types of JSON schemas."""


class TooLongDialogue(Exception):
    """The prompt does not fit the policy."""


@dataclass(frozen=True)
class Said:
    """A reply of the policy."""

    prompt: list[int]
    """The prompt's tokens."""
    ids: list[int]
    """Its own."""
    opening: str
    """What the prompt had written of it already."""
    text: str
    """Its text."""
    reply: Reply
    """As its dialect reads it."""
    cut: bool
    """Whether it had not ended at the most tokens."""


@dataclass(frozen=True)
class ChatPolicy:
    """A loaded policy and how it is spoken to."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    speech: Speech
    wording: Wording
    target: Target

    @property
    def dialect(self) -> Dialect:
        """How it writes."""
        return self.speech.dialect

    @property
    def single(self) -> bool:
        """Whether it knows single requests alone, and no results."""
        return self.wording.single

    def answer(self, dialogue: Dialogue, temperature: float | None, max_tokens: int) -> Said:
        """Its reply to a dialogue that ends with the user or with results.

        Args:
            temperature: None: greedy.
            max_tokens: a reply that has not ended by then is cut.

        Raises:
            TooLongDialogue: it does not fit the policy's positions.
        """
        prompt = render_chat(self.prompt(dialogue), self.tokenizer)
        positions = getattr(self.model.config, "max_position_embeddings", None)
        if isinstance(positions, int) and len(prompt) + max_tokens > positions:
            raise TooLongDialogue(
                f"{len(prompt)} tokens and a reply of {max_tokens} are more than the policy's "
                f"{positions} positions"
            )
        stops = list(self.speech.stop_ids)
        decoding = Decoding(stops, max_tokens, None if temperature is None else Draw(temperature))
        [ids] = sample_batch(self.model, self.tokenizer, [prompt], decoding)
        opening = self.speech.opening(prompt)
        text = self.speech.vocabulary.text(ids)
        known = [openai_tool(tool) for tool in dialogue.tools]
        reply = self.dialect.parse(text, known, opening=opening)
        return Said(prompt, ids, opening, text, reply, not ids or ids[-1] not in stops)

    def prompt(self, dialogue: Dialogue) -> Prompt:
        """The dialogue as the policy's prompts are worded."""
        said, style = self.wording, self.wording.asked
        if style is None:
            return _world(dialogue, said.idle_sentences)
        if said.listed:
            system = {"role": "system", "content": _listing(dialogue)}
            dialogue = replace(dialogue, tools=(), begins=(system,))
        return word(dialogue, style, self.dialect, said.thoughts, think=said.think)

    def inspect(self, said: Said, scheme: Scheme) -> Inspection:
        """The regions and weights of a reply, at the end of the curriculum, from the entropies of
        the policy's own distributions.

        Raises:
            ValueError: the scheme weighs tokens by what their group did.
        """
        temperature = self.target.recipe.rollout.temperature
        entropies = token_entropies(self.model, said.prompt, said.ids, temperature)
        scorer = recipe_reward(self.target.recipe, "constant", said.opening)
        response = Response(said.ids, self.speech, entropies, None, said.opening, scorer)
        regions, mask = response.label(scheme.scaffolding)
        measured = RegionEntropy.measure(torch.tensor([entropies]), regions, mask)
        return inspect_response(response, scheme, measured, 1.0)


def chat_scheme(target: Target) -> Scheme:
    """The weighting that a chat shows: the run's, or ResT's.

    Raises:
        InputError: it weighs tokens by what their group did, or by gradients.
    """
    weighting = target.recipe.weighting
    scheme = get_scheme(weighting.scheme, **weighting.options)
    if scheme.reads_tokens:
        raise InputError(
            f"--weights: the scheme {weighting.scheme} weighs tokens by what their group did; "
            "look at a group by toolrest inspect"
        )
    if scheme.reads_signal:
        raise InputError(
            f"--weights: the scheme {weighting.scheme} weighs by gradients of its run's batches; "
            "look at the run's responses by toolrest inspect"
        )
    return scheme


def chat_wording(
    target: Target, dialect: str | None = None, max_tokens: int | None = None
) -> Wording:
    """How a policy is spoken to: as in training, else as evaluations word prompts. A reply has at
    most as many tokens as in training; where that is not known 1,024, or a quarter of the policy's
    positions if that is less.

    Args:
        dialect: how it writes calls; None: as its run, its folder or its chat template says.
        max_tokens: most tokens of a reply; None: as above.

    Raises:
        InputError: nothing says its dialect, or a reply of so many tokens leaves no position for a
            prompt.
    """
    positions = positions_of(target.recipe)
    if max_tokens is not None and positions is not None and max_tokens >= positions:
        raise InputError(
            f"--max-tokens {max_tokens}: the policy has {positions} positions, and a prompt "
            "needs some of them; ask for fewer"
        )
    trained = target.wording()
    if trained is not None and dialect in (None, trained.dialect):
        wording = trained
    else:
        name, style = dialect_and_style(target, Options(benchmark="bfcl", dialect=dialect))
        usual = Wording(name, style)
        wording = usual if trained is None else replace(trained, dialect=name, style=style)
    most = wording.max_tokens
    if positions is not None and (trained is None or most >= positions):
        most = max(1, min(most, positions // 4))
    return replace(wording, max_tokens=max_tokens or most)


def load_chat_policy(target: Target, wording: Wording) -> ChatPolicy:
    """Load a policy to talk to.

    Raises:
        InputError: it cannot be loaded.
    """
    recipe = target.recipe.model_copy(update={"dialect": wording.dialect})
    target = Target(recipe, target.label, target.run)
    tokenizer = load_tokenizer(recipe)
    model = load_policy(recipe).eval()
    speech = read_speech(tokenizer, get_dialect(wording.dialect), model.generation_config)
    return ChatPolicy(model, tokenizer, speech, wording, target)


def _world(dialogue: Dialogue, idle: int | None) -> Prompt:
    """As the embedded tasks are worded: one request.

    Args:
        idle: how many sentences that decide nothing it asks for; None: it does not say.
    """
    system = _listing(dialogue)
    if idle is not None:
        system = with_idle(system, idle)
    asked = [turn.text for turn in dialogue.turns if isinstance(turn, UserTurn)]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": asked[-1]}]
    return Prompt(messages)


def _listing(dialogue: Dialogue) -> str:
    """The system message that lists a dialogue's tools as the embedded world does."""
    return tools_text((tool.name, tool.description, _types(tool)) for tool in dialogue.tools)


def _types(tool: Tool) -> dict[str, str]:
    properties = tool.parameters.get("properties")
    named: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
    kinds = {
        name: said.get("type", "string") if isinstance(said, Mapping) else "string"
        for name, said in named.items()
    }
    return {name: _TYPES.get(str(kind), str(kind)) for name, kind in kinds.items()}
