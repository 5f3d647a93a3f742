"""How verl's workers read the policy's tokens: as the TRL engine does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolrest.core.dialects import get_dialect
from toolrest.policy.speech import Speech, read_speech

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def config_speech(config: Any, tokenizer: PreTrainedTokenizerBase) -> Speech:
    """The policy's speech, the ends of turns that its generation configuration names included.

    Args:
        config: verl's, with the plug-in's settings.
    """
    from transformers import GenerationConfig

    model = config.actor_rollout_ref.model
    try:
        own = GenerationConfig.from_pretrained(
            model.path, trust_remote_code=model.get("trust_remote_code", False)
        )
    except OSError:  # it has none
        own = None
    return read_speech(tokenizer, get_dialect(config.toolrest.dialect), own)
