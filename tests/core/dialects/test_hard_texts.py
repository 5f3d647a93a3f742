"""One row for each defect of the paper's released code, and for each odd thing that models write.

A row holds the tokens as sampled and, below each, its label as worked out by hand; see
`labelling.LETTERS`.
"""

import pytest
from labelling import label_pieces

from toolrest.core.dialects import ParseStatus, get_dialect

CALL = (
    "<tool_call>\n",
    '{"name": "',
    "a",
    '", "parameters": ',
    '{"x": ',
    "1",
    "}",
    "}",
    "\n</tool_call>",
)
"""A usual call in nine tokens: FFNFPPPFF."""

RLLA_ROWS = {
    # Defects of the released code.
    "the last token of a span counts": (("<think>", " I", " go", " on", "</think>"), "FTTTF"),
    "every call of a block counts": ((*CALL[:-1], "\n", *CALL[1:]), "FFNFPPPFFFNFPPPFF"),
    "a truncated reply keeps what it has": (CALL[:6], "FFNFPP"),
    "an unclosed thought is a thought": (("<think>", " I", " go"), "FTT"),
    "other than canonical tokens": (("<th", "ink>", " g", "o", "</think", ">"), "FFTTFF"),
    "bytes that are not UTF-8": (("<think>", b"\xff\xfe", "</think>"), "FTF"),
    "a tag within a JSON string": (
        (*CALL[:4], '{"x": "', "</tool_call>", '"}', "}", "\n</tool_call>"),
        "FFNFPPPFF",
    ),
    "a tag within the thought": (
        ("<think>", " I write ", "<tool_call>", " now", "</think>"),
        "FTTTF",
    ),
    "a name among the parameters": (
        (*CALL[:4], '{"name": "', "b", '"}', "}", "\n</tool_call>"),
        "FFNFPPPFF",
    ),
    # What models write.
    "too many closing braces": ((*CALL[:8], "}", "\n</tool_call>"), "FFNFPPPF.F"),
    "too few closing braces": ((*CALL[:7], "\n</tool_call>"), "FFNFPPPF"),
    "no closing tag, then a response": (
        (*CALL[:8], "\n", "<response>", " ok", "</response>"),
        "FFNFPPPFFFRF",
    ),
    "no closing tag of the thought": (("<think>", " go\n", *CALL), "FTFFNFPPPFF"),
    "single quotes": (
        ("<tool_call>", "{'name': '", "a", "', 'parameters': ", "{'x': ", "1", "}", "}", *CALL[8:]),
        "FFNFPPPFF",
    ),
    "a trailing comma": ((*CALL[:6], ",", "}", "}", "\n</tool_call>"), "FFNFPPPPFF"),
    "NaN": ((*CALL[:5], "NaN", "}", "}", "\n</tool_call>"), "FFNFPPPFF"),
    "Infinity": ((*CALL[:5], "-Infinity", "}", "}", "\n</tool_call>"), "FFNFPPPFF"),
    "duplicate keys": (
        (*CALL[:3], '", "name": "', "b", '", "parameters": ', "{}", "}", "</tool_call>"),
        "FFNFNFPFF",
    ),
    "keys in another order": (
        ("<tool_call>", '{"parameters": ', '{"x": 1}', ', "name": "', "a", '"}', "</tool_call>"),
        "FFPFNFF",
    ),
    "a further key": (
        ("<tool_call>", '{"id": 7, "name": "', "a", '", "parameters": ', "{}", "}", "</tool_call>"),
        "FFNFPFF",
    ),
    "several blocks": ((*CALL, "\n", *CALL), "FFNFPPPFFFFFNFPPPFF"),
    "text between blocks": (("<think>", " a", "</think>", " and so", *CALL), "FTF.FFNFPPPFF"),
    "CRLF and tabs": (("<think>", "\ta\r\n", "</think>", "\r\n\t", *CALL), "FTFFFFNFPPPFF"),
    "emoji over two tokens": (
        ("<think>", "🙂".encode()[:2], "🙂".encode()[2:], "</think>"),
        "FTTF",
    ),
    "CJK over two tokens, in a value": (
        (*CALL[:4], '{"x": "', "東".encode()[:1], "東".encode()[1:], '"}', "}", "\n</tool_call>"),
        "FFNFPPPPFF",
    ),
    "a string that breaks at a line's end": (
        ("<tool_call>", '{"name": "', "a", "\n", "</tool_call>"),
        "FFNFF",
    ),
    "text in no block": (("Sure", "!"), ".."),
    "a token of no bytes": (("<think>", "", " a", "</think>"), "F.TF"),
}  # fmt: skip


@pytest.mark.parametrize("case", RLLA_ROWS)
def test_labels_worked_out_by_hand(case):
    pieces, expected = RLLA_ROWS[case]
    assert label_pieces(list(pieces)) == expected


OTHER_ROWS = {
    "hermes": (
        ("<think>\n", "a", "\n</think>", "\n\n", "Yes.", "\n", "<tool_call>", '\n{"name": "', "f",
         '", "arguments": ', '{"x": ', "1}", "}\n", "</tool_call>"),
        "FTFFRFFFNFPPFF",
    ),
    "qwen_xml": (
        ("<tool_call>", "\n<function=", "f", ">\n", "<parameter=", "x", ">\n1\n", "</parameter>",
         "\n</function>\n", "</tool_call>"),
        "FFNFPPPPFF",
    ),
    "glm": (
        ("\n", "<think>", "a", "</think>", "\nYes.", "\n<tool_call>", "f", "\n", "<arg_key>", "x",
         "</arg_key>", "\n<arg_value>", "1", "</arg_value>", "\n</tool_call>"),
        "FFTFRFNFPPPPPPF",
    ),
    "minimax": (
        ("<think>", "\na\n", "</think>", "\n\n", "Yes.", "\n", "<minimax:tool_call>",
         '\n<invoke name="', "f", '">\n', '<parameter name="', "x", '">', "1", "</parameter>",
         "\n</invoke>", '\n<invoke name="', "g", '">\n', "</invoke>\n", "</minimax:tool_call>"),
        "FTFFRFFFNFPPPPPFFNFFF",
    ),
    "muse": (
        (" to=self", "<|message|>", "a", "<|eom|>", "<|start|>", "assistant", " to=", "f",
         "<|message|>", "<atem:function_calls>\n", '<atem:invoke name="', "f", '">\n',
         '<atem:parameter name="', "x", '">', "1", "</atem:parameter>", "\n</atem:invoke>\n",
         "</atem:function_calls>", "<|eot|>"),
        "FFTFFFFNFFFFFPPPPPFFF",
    ),
    "llama3": (
        ("<|python_tag|>", '{"name": "', "f", '", "parameters": ', '{"x": 1}', "}", "; ",
         '{"name": "', "g", '", "parameters": ', "{}", "}"),
        "FFNFPFFFNFPF",
    ),
    "mistral": (
        ("[THINK]", "a", "[/THINK]", "Yes.", "[TOOL_CALLS]", '[{"name": "', "f", '", "arguments": ',
         '{"x": 1}', "}", "]"),
        "FTFRFFNFPFF",
    ),
    "mistral_v11": (
        ("[THINK]", "a", "[/THINK]", "Yes.", "[TOOL_CALLS]", "f", "[CALL_ID]", "a1B2c3D4e",
         "[ARGS]", '{"x": ', "1}", "[TOOL_CALLS]", "g", "[ARGS]", "{}"),
        "FTFRFNFFFPPFNFP",
    ),
    "deepseek_v3": (
        ("<think>", "a", "</think>", "\n\n", "Yes.", "<｜tool▁calls▁begin｜>",
         "<｜tool▁call▁begin｜>", "function", "<｜tool▁sep｜>", "f", "\n```", "json\n",
         '{"x": ', "1}", "\n", "```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
        "FTFFRFFFFNFFPPFFFF",
    ),
    "deepseek_v3_1": (
        ("</think>", "Yes.", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "f",
         "<｜tool▁sep｜>", '{"x": ', "1}", "<｜tool▁call▁end｜>", "<｜tool▁call▁begin｜>", "g",
         "<｜tool▁sep｜>", "{}", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
        "FRFFNFPPFFNFPFF",
    ),
    "deepseek_v3_2": (
        ("<think>", "a", "</think>", "Yes.", "\n\n", "<｜DSML｜function_calls>", "\n",
         "<｜DSML｜invoke", ' name="', "f", '">', "\n", "<｜DSML｜parameter", ' name="x"',
         ' string="false">', "1", "</｜DSML｜parameter>", "\n", "</｜DSML｜invoke>", "\n",
         "</｜DSML｜function_calls>"),
        "FTFRFFFFFNFFPPPPPFFFF",
    ),
    "kimi": (
        ("<think>", "a", "</think>", "Yes.", "<|tool_calls_section_begin|>", "<|tool_call_begin|>",
         "functions.", "f", ":0", "<|tool_call_argument_begin|>", '{"x": ', "1}",
         "<|tool_call_end|>", "<|tool_calls_section_end|>"),
        "FTFRFFFNFFPPFF",
    ),
    "pythonic": (("[", "f", "(x", "=1", ")", ", ", "g.h", "()", "]"), "FNPPPFNPF"),
    "lfm2": (
        ("<think>", "a", "</think>", "Yes.", "<|tool_call_start|>", "[", "f", "(x", "='1'", ")",
         ", ", "g.h", "()", "]", "<|tool_call_end|>"),
        "FTFRFFNPPPFNPFF",
    ),
    "gemma4": (
        ("<|channel>", "thought", "\n", "a", "\n", "<channel|>", "Yes.", "<|tool_call>", "call:",
         "f", "{x:", '<|"|>', "b", '<|"|>', "}", "<tool_call|>"),
        "FFTTTFRFFNPPPPPF",
    ),
    "functiongemma": (
        ("<think>\n", "a", "\n</think>\n\n", "Yes.", "<start_function_call>", "call:", "f", "{x:",
         "<escape>", "b", "<escape>", ",y:", "1}", "<end_function_call>"),
        "FTFRFFNPPPPPPF",
    ),
    "gpt_oss": (
        ("<|channel|>", "analysis", "<|message|>", "a", "<|end|>", "<|start|>", "assistant",
         "<|channel|>", "commentary", " to=functions.", "f", " <|constrain|>", "json",
         "<|message|>", '{"x": 1}', "<|call|>"),
        "FFFTFFFFFFNFFFPF",
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", OTHER_ROWS)
def test_labels_of_a_usual_reply_worked_out_by_hand(dialect):
    pieces, expected = OTHER_ROWS[dialect]
    assert label_pieces(list(pieces), dialect) == expected
    reply = get_dialect(dialect).parse("".join(pieces))
    assert reply.status is ParseStatus.OK
    assert reply.calls[0].name == "f"


@pytest.mark.parametrize("dialect", OTHER_ROWS)
def test_a_cut_keeps_the_labels_before_it(dialect):
    pieces, expected = OTHER_ROWS[dialect]
    for length in range(1, len(pieces)):
        got = label_pieces(list(pieces[:length]), dialect)
        assert got.replace(".", "F") == expected[:length], pieces[:length]


MORE_ROWS = {
    "pythonic: Llama 4's marks": (
        ("<|python_start|>", "[", "f", "()", "]", "<|python_end|>"),
        "FFNPFF",
    ),
    "pythonic: a comment": (("[", "f", "(a=1", " # ", ")", "]"), "FNPPPF"),
    "lfm2: a string without its end": (
        ("<|tool_call_start|>", "[", "f", "(a='x", ")]", "<|tool_call_end|>", "It's", " so."),
        "FFNPPFRR",
    ),
    "lfm2: an end mark in a string": (
        ("<|tool_call_start|>", "[", "f", "(a='", "<|tool_call_end|>", "')", "]",
         "<|tool_call_end|>"),
        "FFNPPPFF",
    ),
    "lfm2: a call in JSON": (
        ("<|tool_call_start|>", "[", '{"name": "', "f", '", "arguments": ', "{}", "}", "]",
         "<|tool_call_end|>"),
        "FFFNFPFFF",
    ),
    "lfm2: no list": (("<|tool_call_start|>", "f()", "<|tool_call_end|>", "a"), "F.FR"),
    "gemma4: a string without its end": (
        ("<|tool_call>", "call:", "f", "{a:", '<|"|>', "x", "}", "<tool_call|>", "<|tool_call>",
         "call:", "g", "{b:", '<|"|>', "y", '<|"|>', "}", "<tool_call|>"),
        "FFNPPPPFFFNPPPPPF",
    ),
    "gemma4: an end mark in a string": (
        ("<|tool_call>", "call:", "f", "{a:", '<|"|>', "<tool_call|>", '<|"|>', "}",
         "<tool_call|>"),
        "FFNPPPPPF",
    ),
    "gemma4: no closing mark": (
        ("<|tool_call>", "call:", "f", "{}", "<|channel>", "thought", "\nb", "<channel|>", "c"),
        "FFNPFFTFR",
    ),
    "gemma4: too many closing braces": (
        ("<|tool_call>", "call:", "f", "{}", "}", "<tool_call|>", "a"),
        "FFNP.FR",
    ),
    "gemma4: no value": (
        ("<|tool_call>", "call:", "f", "{a:", "Oslo", "}", "<tool_call|>"),
        "FFNPPPF",
    ),
    "gemma4: no call": (("<|tool_call>", "f", "{}", "<tool_call|>"), "F..F"),
    "gemma4: a thought without its end": (
        ("<|channel>", "thought", "a", "<|tool_call>", "call:", "f", "{}", "<tool_call|>"),
        "FFTFFNPF",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MORE_ROWS)
def test_labels_of_odd_replies_worked_out_by_hand(case):
    pieces, expected = MORE_ROWS[case]
    assert label_pieces(list(pieces), case.split(":")[0]) == expected


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        ("lfm2", "Let me see </think>\n<|tool_call_start|>[f()]<|tool_call_end|>"),
        ("gemma4", "Let me see <channel|>\n<|tool_call>call:f{}<tool_call|>"),
        (
            "hermes",
            'Let me see </think>\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>',
        ),
        ("qwen_xml", "Let me see </think>\n<tool_call>\n<function=f>\n</function>\n</tool_call>"),
        ("glm", "Let me see </think>\n<tool_call>f\n</tool_call>"),
        ("glm", "Let me see</think><tool_call>f</tool_call>"),
        (
            "minimax",
            "Let me see </think>\n\n\n<minimax:tool_call>\n"
            '<invoke name="f">\n</invoke>\n</minimax:tool_call>',
        ),
        ("pythonic", "Let me see </think>\n[f()]"),
    ],
)
def test_a_thought_that_the_prompt_has_opened(dialect, text):
    reply = get_dialect(dialect).parse(text)
    assert (reply.thought, reply.status) == ("Let me see", ParseStatus.OK)
    assert [call.name for call in reply.calls] == ["f"]


@pytest.mark.parametrize(
    "text",
    [
        "[f(__import__('os').system('x'))]",
        "[f(a=__import__('os'))]",
        "[f(a=b)]",
        "[f(1)]",
        "[f(a={1, 2})]",
        "[f(a=b'x')]",
        "[f(a=1]",
        "[f(a=1)",
    ],
)
def test_what_is_no_literal_is_a_bad_call_and_is_never_run(text):
    reply = get_dialect("pythonic").parse(text)
    assert not reply.calls_intact
    assert reply.status in (ParseStatus.BAD_CALL, ParseStatus.UNCLOSED)
