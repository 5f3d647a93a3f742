"""Loads a policy's tokenizer and probes its chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from toolrest.errors import InputError
from toolrest.io.deadline import TEMPLATE_SECONDS, ends_within
from toolrest.io.files import read_json
from toolrest.policy.folder import not_loaded, policy_folder, whole_folder
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MISTRAL = "fix_mistral_regex"
"""A field of tokenizer_config.json: which regex splits words in some of Mistral's tokenizers."""
_ASKED: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
_TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Finds.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
}
_ANSWERED: list[dict[str, Any]] = [
    {"role": "system", "content": "Help."},
    *_ASKED,
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "function": {"name": "find", "arguments": {"word": "a"}}}
        ],
    },
    {"role": "tool", "name": "find", "content": "b"},
]
_WORDS: tuple[tuple[list[dict[str, Any]], list[Any] | None], ...] = (
    *((_ASKED, None), (_ASKED, [_TOOL]), (_ANSWERED, [_TOOL])),
    *(([*_ANSWERED, {"role": "assistant", "content": "c"}], None), (_ANSWERED[:2], [_TOOL])),
)
"""(messages, tools) of each kind, to probe a chat template."""


def load_tokenizer(recipe: Recipe) -> PreTrainedTokenizerBase:
    """The policy's tokenizer, padding on the left, with a padding token.

    Raises:
        InputError: it cannot be loaded, its bytes cannot be read, or it has no chat template.
    """
    from transformers import AutoTokenizer

    from toolrest.core.vocabulary import Vocabulary

    path = policy_folder(recipe)
    if not (path / "tokenizer_config.json").is_file():  # adapters that peft wrote alone
        path = whole_folder(path, recipe)
    file = path / "tokenizer_config.json"
    said = read_json(file).get(_MISTRAL) if file.is_file() else None
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path,
            padding_side="left",
            # Named at all, it keeps transformers from Mistral's own package (which vLLM brings) and
            # tekken.json: a tokenizer whose bytes cannot be read.
            **{_MISTRAL: said},
            trust_remote_code=recipe.trust_remote_code,
            local_files_only=not recipe.trust_remote_code,
        )
        if said is None:
            tokenizer.init_kwargs.pop(_MISTRAL, None)  # nor is it saved
        ends = Vocabulary.from_tokenizer(tokenizer).end_ids
    except (InputError, MemoryError):
        raise
    except Exception as error:  # what broken files end in has no common class
        raise not_loaded(recipe, "tokenizer", error) from error
    if tokenizer.chat_template is None:
        raise InputError(
            f"policy={recipe.policy}: the tokenizer has no chat template, so prompts cannot be "
            "written; use an instruction-tuned policy, or add a chat_template to the tokenizer"
        )
    set_template_options(tokenizer, recipe.data.template_options)
    _check_template(tokenizer, recipe)
    if tokenizer.pad_token is None:  # any token will do, for what is padded is masked
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(
            min(ends, default=0)
        )
    return tokenizer


def _check_template(tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> None:
    """Refuse a chat template that takes too long for a few words, tried in a child process.

    Prompts that it refuses are reported later, where they are rendered.
    """

    def write() -> None:
        for messages, tools in _WORDS:
            for opened in (True, False):
                with suppress(Exception):
                    tokenizer.apply_chat_template(
                        messages,
                        tools=cast(Any, tools),
                        add_generation_prompt=opened,
                        tokenize=False,
                    )

    if not ends_within(TEMPLATE_SECONDS, write):
        raise InputError(
            f"policy={recipe.policy}: its chat template takes over {TEMPLATE_SECONDS:.0f} s for "
            "a few words, or more memory than there is; use another template"
        )


def set_template_options(tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any]) -> None:
    """Make a recipe's template options the defaults of the chat template.

    Written into the template itself, so that whoever renders a prompt, a server of the trained
    checkpoint included, gets the prompts of training.

    Raises:
        InputError: the template never reads one of them.
    """
    if not options:
        return
    whole = tokenizer.chat_template
    templates = whole if isinstance(whole, dict) else {"default": whole}
    for name in options:
        if not any(re.search(rf"\b{name}\b", str(text)) for text in templates.values()):
            raise InputError(
                f"data.template_options.{name}: the policy's chat template never reads {name}; "
                "leave it out"
            )
    said = "".join(
        f"{{%- if {name} is not defined %}}{{%- set {name} = {_literal(value)} %}}{{%- endif %}}"
        for name, value in options.items()
    )
    made = {name: said + str(text) for name, text in templates.items()}
    tokenizer.chat_template = made if isinstance(whole, dict) else made["default"]


def _literal(value: Any) -> str:
    """A plain value as a Jinja literal."""
    return "none" if value is None else json.dumps(value)
