"""How verl's workers read the policy's tokens: as the TRL engine does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolrest.core.dialects import get_dialect
from toolrest.policy.speech import Speech, read_speech
from toolrest.policy.weights import load_generation_config
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def config_speech(config: Any, tokenizer: PreTrainedTokenizerBase) -> Speech:
    """The policy's speech, the ends of turns that its generation configuration names included.

    Args:
        config: verl's, with the plug-in's settings.

    Raises:
        InputError: the policy's files cannot be read.
    """
    model = config.actor_rollout_ref.model
    trust_remote_code = bool(model.get("trust_remote_code", False))  # the recipe's own word
    policy = Recipe(policy=model.path, trust_remote_code=trust_remote_code)
    dialect = get_dialect(config.toolrest.dialect)
    return read_speech(tokenizer, dialect, load_generation_config(policy))
