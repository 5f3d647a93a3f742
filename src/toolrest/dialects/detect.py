"""Which dialect a model writes, seen from its chat template."""

from toolrest.errors import InputError

_MARKS = (
    ("gemma4", ("<|tool_call>",)),
    ("functiongemma", ("<start_function_call>",)),
    ("lfm2", ("<|tool_call_start|>",)),
    ("pythonic", ("[func_name1(",)),
    ("gpt_oss", ("<|channel|>",)),
    ("muse", ("<atem:function_calls>", '<atem:invoke name="')),
    ("minimax", ("<minimax:tool_call>", '<invoke name="', '<parameter name="')),
    ("glm", ("<tool_call>", "<arg_key>", "<arg_value>")),
    ("qwen_xml", ("<tool_call>", "<function=", "<parameter=")),
    ("mistral", ("[TOOL_CALLS]",)),
    ("llama3", ("<|start_header_id|>",)),
    ("hermes", ("<tool_call>", '"arguments"')),
)
_UNLIKE = ("<tool_sep>",)
"""Marks of formats that toolrest does not know and that write some of the above too."""


def detect_dialect(chat_template: str | None) -> str:
    """The name of the dialect that a chat template writes calls in.

    `rlla` is not seen: a system message asks for it, not the template. `pythonic` is seen where the
    template asks for it.

    Raises:
        InputError: there is no template, or it is of a dialect that toolrest does not know.
    """
    if chat_template is None:
        raise InputError("the tokenizer has no chat template to see the dialect from; name it")
    if not any(mark in chat_template for mark in _UNLIKE):
        for name, marks in _MARKS:
            if all(mark in chat_template for mark in marks):
                return name
    raise InputError("the tokenizer's chat template is of no dialect that toolrest knows; name one")
