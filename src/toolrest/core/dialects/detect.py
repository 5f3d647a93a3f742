"""Detects a model's dialect from its chat template."""

import re

from toolrest.errors import InputError

_MARKS: tuple[tuple[str | None, tuple[str, ...]], ...] = (
    (None, ("<tool_sep>",)),
    ("gemma4", ("<|tool_call>",)),
    ("functiongemma", ("<start_function_call>",)),
    ("lfm2", ("<|tool_call_start|>",)),
    ("pythonic", ("[func_name1(",)),
    ("gpt_oss", ("<|start|>assistant", "<|channel|>commentary", "<|message|>")),
    ("muse", ("<atem:function_calls>", '<atem:invoke name="')),
    ("minimax", ("<minimax:tool_call>", '<invoke name="', '<parameter name="')),
    ("glm", ("<tool_call>", "<arg_key>", "<arg_value>")),
    ("kimi", ("<|tool_calls_section_begin|>", "<|tool_call_argument_begin|>")),
    ("deepseek_v3_2", ("｜DSML｜", "function_calls")),
    ("deepseek_v4_1", ("｜DSML｜", " invoke name=")),
    ("deepseek_v4", ("｜DSML｜", "tool_calls")),
    ("deepseek_v3", ("<｜tool▁sep｜>", "```json")),
    ("deepseek_v3_1", ("<｜tool▁sep｜>",)),
    ("mistral_v11", ("[TOOL_CALLS]", "[ARGS]")),
    ("mistral", ("[TOOL_CALLS]",)),
    ("qwen_xml", ("<tool_call>", "<function=", "<parameter=")),
    (None, ("<function=",)),
    ("hermes", ("<tool_call>", '"arguments"')),
    ("llama3", ("<|start_header_id|>", '"name"', '"parameters"')),
)
"""What a template of each dialect holds, all of it. The first line that fits is right: where the
templates of one dialect hold the marks of another, it stands before that one. None: a form that
toolrest does not know, and that holds marks of the lines below it."""
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)


def detect_dialect(chat_template: str | None) -> str:
    """The name of the dialect that a chat template writes calls in.

    `rlla` is not seen: a system message asks for it, not the template. `pythonic` is seen where the
    template asks for it. What the template's comments say counts where nothing else does.

    Raises:
        InputError: there is no template, it writes no calls, or it is of a dialect that toolrest
            does not know.
    """
    if chat_template is None:
        raise InputError("the tokenizer has no chat template to see the dialect from; name it")
    written = _COMMENT.sub("", chat_template)
    name = _fitting(written) or _fitting(chat_template)
    if name is not None:
        return name
    if "tool_calls" not in written:
        raise InputError(
            "the tokenizer's chat template writes no tool calls to see the dialect from; name one"
        )
    raise InputError("the tokenizer's chat template is of no dialect that toolrest knows; name one")


def _fitting(text: str) -> str | None:
    return next((name for name, marks in _MARKS if all(mark in text for mark in marks)), None)
