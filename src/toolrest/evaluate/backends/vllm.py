"""Gets a policy's answers by vLLM in this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from toolrest.core.dialects import Dialect
from toolrest.data.wording import Prompt
from toolrest.errors import InputError
from toolrest.evaluate.backends.hf import PromptCodec
from toolrest.evaluate.episode import Answer, Request
from toolrest.policy.adapters import has_adapters
from toolrest.policy.finite import check_finite_files
from toolrest.policy.folder import policy_folder
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_generation_config
from toolrest.recipe import Recipe

_WINDOW = 1024


class VLLMBackend:
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
        self._codec = PromptCodec(load_tokenizer(recipe), dialect, load_generation_config(recipe))
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
            stop_token_ids=list(self._codec.speech.stop_ids),
        )
        room = self._engine.llm_engine.model_config.max_model_len - max_tokens
        self._longest = room if max_prompt_tokens is None else min(room, max_prompt_tokens)

    @property
    def window(self) -> int:
        """See `Backend.window`."""
        return _WINDOW

    def show(self, prompt: Prompt) -> str:
        """See `Backend.show`."""
        return self._codec.show(prompt)

    def sent(self, prompt: Prompt) -> list[int]:
        """See `Backend.sent`."""
        return self._codec.ids(prompt)

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[str, Answer]]:
        """See `Backend.answer`."""
        fitting: list[tuple[str, list[int]]] = []
        for request in requests:
            ids = request.sent or self.sent(request.prompt)
            if len(ids) > self._longest:
                yield request.key, Answer("", "too_long", prompt_tokens=len(ids), tokens=0)
            else:
                fitting.append((request.key, ids))
        if not fitting:
            return
        outputs = self._engine.generate(
            [{"prompt_token_ids": ids} for _, ids in fitting], self._sampling, use_tqdm=False
        )
        for (key, ids), output in zip(fitting, outputs, strict=True):
            sampled = output.outputs[0]
            response = list(sampled.token_ids)
            ended = sampled.finish_reason == "stop"
            yield (
                key,
                Answer(
                    self._codec.text(response),
                    "end" if ended else "length",
                    prompt_tokens=len(ids),
                    tokens=len(response),
                    opening=self._codec.speech.opening(ids),
                ),
            )
