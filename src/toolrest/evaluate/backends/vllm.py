"""Gets a policy's answers by vLLM in this process."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from toolrest.core.dialects import Dialect
from toolrest.errors import InputError
from toolrest.evaluate.backends.hf import LocalBackend, PromptCodec
from toolrest.policy.adapters import has_adapters
from toolrest.policy.finite import check_finite_files
from toolrest.policy.folder import policy_folder
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_generation_config
from toolrest.recipe import Recipe

_WINDOW = 1024


class VLLMBackend(LocalBackend):
    """Greedy answers by vLLM's scheduler.

    Args:
        recipe: names the policy.
        max_tokens: an answer that has not ended by then is cut.
        max_prompt_tokens: longer prompts are not asked; None: what the engine's length leaves.
        dtype: of weights and arithmetic.

    Raises:
        InputError: vLLM is not installed, or the policy cannot be loaded.
    """

    def __init__(
        self,
        recipe: Recipe,
        dialect: Dialect,
        max_tokens: int,
        max_prompt_tokens: int | None = None,
        dtype: str = "float32",
    ) -> None:
        if find_spec("vllm") is None:
            raise InputError("--backend vllm needs vLLM: pip install 'toolrest[vllm]'")
        folder = policy_folder(recipe)
        if has_adapters(folder):
            raise InputError(
                f"policy={recipe.policy}: vLLM is given whole policies; these are adapters, which "
                "--backend hf merges"
            )
        check_finite_files(folder)
        vllm: Any = import_module("vllm")
        codec = PromptCodec(load_tokenizer(recipe), dialect, load_generation_config(recipe))
        try:
            self._engine: Any = vllm.LLM(
                model=str(folder), dtype=dtype, trust_remote_code=recipe.trust_remote_code
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise InputError(f"policy={recipe.policy}: vLLM cannot load it ({error})") from error
        self._sampling = vllm.SamplingParams(
            temperature=0.0,
            max_tokens=max_tokens,
            skip_special_tokens=False,
            stop_token_ids=list(codec.speech.stop_ids),
        )
        room = self._engine.llm_engine.model_config.max_model_len - max_tokens
        longest = room if max_prompt_tokens is None else min(room, max_prompt_tokens)
        super().__init__(codec, longest, _WINDOW, _WINDOW)

    def _generate(self, prompts: list[list[int]]) -> list[tuple[list[int], bool]]:
        asked = [{"prompt_token_ids": ids} for ids in prompts]
        answers = [
            each.outputs[0] for each in self._engine.generate(asked, self._sampling, use_tqdm=False)
        ]
        return [(list(each.token_ids), each.finish_reason == "stop") for each in answers]
