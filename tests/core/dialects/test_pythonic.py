"""Lists of Python calls: literals are read as Python reads them, and nothing else is."""

import ast
import json
import re
import warnings

import pytest
from chat_turns import USUAL, assistant, turn
from hypothesis import example, given
from hypothesis import strategies as st
from replies import json_values

from toolrest.core.dialects import ParseStatus, ToolCall, detect_dialect, get_dialect
from toolrest.core.regions import Region

PYTHONIC = get_dialect("pythonic")
LITERALS = [
    *("1", "-1", "+1", "- 1", "0", "00", "1_000", "0x1F", "0o17", "0b11", "1.5", ".5", "1.", "1e3"),
    *("1E-3", "-1.5e+3", "1_0.0_1", "True", "False", "None", "''", '""', "'a'", '"a"', "'\"'"),
    *(r"'\''", r'"\""', r"'\\'", r"'a\nb\t\x41\u00e9\U0001F642\101\0'", r"'\d\.'", "'a\\\nb'"),
    *("r'\\d'", "R'\\n'", "u'a'", "'a' 'b'", "'a'\n\"b\"", '"""a"b\nc"""', "'''a''b\n'''"),
    *("[]", "[1, 'a']", "[1,]", "()", "(1)", "(1,)", "(1, 2)", "('a')", "{}", "{'a': 1}"),
    *("{'a': [1, {'b': None}],}", "[[], [[]], ()]", "( [ 1 ] )", "{'a' 'b': 1}", "'# no comment'"),
]


def values(literal):
    """The call's parameters; None where it is a bad call, or ends within what was given."""
    reply = PYTHONIC.parse(f"[f(a={literal})]")
    if reply.status is ParseStatus.STRAY_TEXT:
        assert re.search(r"\)\s*\]", literal)
        return None
    if reply.status is not ParseStatus.OK:
        assert reply.status in (ParseStatus.BAD_CALL, ParseStatus.UNCLOSED)
        assert not reply.calls_intact
        return None
    (call,) = reply.calls
    return call.parameters


def as_json(value):
    return json.loads(json.dumps(value))  # a tuple is a list


@pytest.mark.parametrize("literal", LITERALS)
def test_a_literal_is_what_python_says(literal):
    with warnings.catch_warnings(action="ignore"):
        wanted = as_json(ast.literal_eval(f"({literal})"))
    assert repr(values(literal)) == repr({"a": wanted})


@pytest.mark.parametrize(
    "text",
    [
        *("b", "a.b", "b()", "__import__('os').system('x')", "lambda: 1", "1 if 1 else 2", "not 1"),
        *("1 + 1", "1+1j", "1j", "--1", "-'a'", "~1", "2**9", "'a' * 9", "'a'[0]", "[1][0]", "..."),
        *(
            "f'x'",
            "f'{1}'",
            "b'x'",
            "rb'x'",
            "'a' f'b'",
            "{1}",
            "{1: 2}",
            "{**{}}",
            "[*[]]",
            "set()",
        ),
        *(
            "07",
            "0x",
            "1__0",
            "_1",
            "1e",
            "nan",
            "inf",
            "1e999",
            "-1e999",
            "TRUE",
            "Null",
            "undefined",
        ),
        *(
            "'a",
            '"a',
            "'a\nb'",
            "'''a'",
            '""""',
            r"'\x4'",
            r"'\u12'",
            r"'\U00110000'",
            "'a' b",
            "'a''",
        ),
        *("1 # one", "[1, # one\n 2]", "# one\n1", "", ",", "1,,b=2", "[1", "(1", "[1)", "{'a'}"),
        *("{'a': }", "{'a' 1}", "1)", "1, 2", "1, **{}", "x=1", "[x for x in []]", "yield", "1;2"),
        *("1" * 5000, "-" * 5000 + "1", "0x" + "f" * 4000, "[" * 300 + "]" * 300, "(" * 9 + "1"),
    ],
)
def test_what_is_no_literal_is_a_bad_call(text):
    assert values(text) is None
    assert PYTHONIC.parse(f"[f(a={text})]").calls in ((), (ToolCall("f", {"a": 1}),))  # 1), 1]


def test_json_s_words_are_read_too():
    assert values('true, b={"c": [null, false]}') == {"a": True, "b": {"c": [None, False]}}
    assert values('"true"') == {"a": "true"}


def test_a_pair_of_json_s_surrogates_is_one_character():
    assert values(r'{"b": "\ud83d\ude42"}') == {"a": {"b": "🙂"}}
    assert values(r'"\ud83d"') == {"a": "\ud83d"}


def test_a_long_integer_can_be_written_out_again():
    longest = "f" * 3500
    parameters = values(f"0x{longest}")
    assert parameters is not None
    assert repr(parameters) == repr({"a": int(longest, 16)})


@example(text="0)]")
@given(text=st.text(alphabet="'\"\\nxu01d8{}[](),:=# \nré🙂", max_size=14))
def test_strings_are_read_as_python_reads_them(text):
    with warnings.catch_warnings(action="ignore"):
        try:
            wanted = ast.literal_eval(f"[{text}\n]")
        except (ValueError, SyntaxError, MemoryError):
            wanted = []
    if len(wanted) == 1 and isinstance(wanted[0], str) and "#" not in text:
        assert values(text) == {"a": wanted[0]}
    elif not wanted and "=" not in text:
        assert values(text) is None


@given(
    st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True), json_values, max_size=4)
)
def test_what_python_writes_is_read(parameters):
    call = ToolCall("f", parameters)
    for write in (repr, lambda value: json.dumps(value, ensure_ascii=False), json.dumps):
        written = ", ".join(f"{key}={write(value)}" for key, value in parameters.items())
        assert repr(PYTHONIC.parse(f"[f({written})]").calls) == repr((call,))


@pytest.mark.parametrize(
    "said", ["</think>", "<think>", ")]", "[g()]", "f(a=1), g(", "<|python_end|>"]
)
@pytest.mark.parametrize("before", ["", "<think>\nI call.\n</think>\n\n", "<|python_start|>"])
def test_what_is_said_in_a_value_is_no_mark(before, said):
    reply = PYTHONIC.parse(f"{before}[f(x={said!r}), g(y=['{said}'])]")
    assert reply.status is ParseStatus.OK
    assert reply.calls == (ToolCall("f", {"x": said}), ToolCall("g", {"y": [said]}))
    assert reply.thought == ("I call." if "think" in before else None)


def test_a_broken_call_does_not_hide_the_next():
    reply = PYTHONIC.parse("[f(1), g(a=h(b=2)), i(c='#'), j(d=1 # ,e=2\n), k()]")
    assert (reply.status, reply.position) == (ParseStatus.BAD_CALL, 2)
    assert reply.calls == (ToolCall("i", {"c": "#"}), ToolCall("k", {}))
    assert [s.region for s in reply.spans].count(Region.NAME) == 5


@pytest.mark.parametrize(
    ("text", "names"),
    [("[f(a='x\n, g()]", ["f", "g"]), ("[f(a='''x\n), g()]", ["f"])],
)
def test_a_string_without_its_end_ends_with_its_line(text, names):
    """Unless it began with three quotes: such a one may still end on another line."""
    reply = PYTHONIC.parse(text)
    assert [text[s.start : s.end] for s in reply.spans if s.region is Region.NAME] == names
    assert [call.name for call in reply.calls] == names[1:]
    assert not reply.calls_intact


@pytest.mark.parametrize(
    "text", ["[f() # g()\n]", "[# f()\ng()]", "[f(a=1, #b=2\n)]", "[f(#a=1\n)]"]
)
def test_a_comment_says_nothing(text):
    assert not [call for call in PYTHONIC.parse(text).calls if call.name != "f" or call.parameters]


@pytest.mark.parametrize(
    ("text", "status", "response"),
    [
        ("<|python_start|>[f()]<|python_end|>", ParseStatus.OK, None),
        ("<|python_start|>[f()]\n<|python_end|>\n", ParseStatus.OK, None),
        ("<|python_start|>[f()]", ParseStatus.OK, None),
        ("[f()]<|python_end|>", ParseStatus.STRAY_TEXT, None),
        ("<|python_start|>[f()]<|python_end|> so", ParseStatus.STRAY_TEXT, None),
        (
            "<|python_start|>print(1)<|python_end|>",
            ParseStatus.OK,
            "<|python_start|>print(1)<|python_end|>",
        ),
    ],
)
def test_the_marks_of_llama_4(text, status, response):
    reply = PYTHONIC.parse(text)
    assert (reply.status, reply.response) == (status, response)
    assert reply.calls == (() if response else (ToolCall("f", {}),))


def in_the_shape(quote):
    """A chat template that asks for such calls and writes them in the shape of vLLM's templates for
    Llama 3.2 (no quotes) and Llama 4 (quotes around every value).
    """
    return f"""
    {{%- for message in messages -%}}
    <|start_header_id|>{{{{ message.role }}}}<|end_header_id|>
    {{{{ 'Respond in the format [func_name1(params_name1=params_value1)]' if loop.first }}}}
    {{%- if message.tool_calls -%}}
    [{{%- for call in message.tool_calls -%}}
    {{{{ call.function.name }}}}(
    {{%- for key, value in call.function.arguments.items() -%}}
    {{{{ key }}}}={quote}{{{{ value }}}}{quote}{{{{ ', ' if not loop.last }}}}
    {{%- endfor -%}}){{{{ ', ' if not loop.last }}}}
    {{%- endfor -%}}]
    {{%- endif -%}}<|eot_id|>
    {{%- endfor -%}}
    {{{{ '<|start_header_id|>assistant<|end_header_id|>\\n    ' if add_generation_prompt }}}}"""


LLAMA_3_2, LLAMA_4 = in_the_shape(""), in_the_shape('"')


def written(template, parameters):
    return turn(template, assistant((ToolCall("f", parameters),)), "<|eot_id|>")


@pytest.mark.parametrize("template", [LLAMA_3_2, LLAMA_4])
def test_what_the_templates_of_llama_lose(template):
    """The type of a value: a refusal of the policy's template stands."""
    assert written(template, {"a": "3"}) == written(template, {"a": 3})
    assert detect_dialect(template) == "pythonic"


def test_what_the_templates_of_llama_keep():
    strings = {"city": "Oslo", "note": "a, b)]"}
    assert PYTHONIC.parse(written(LLAMA_4, strings)).calls == (ToolCall("f", strings),)
    numbers = {"days": 3, "far": 2.5, "sure": True, "note": None, "tags": ["a", "b"]}
    assert PYTHONIC.parse(written(LLAMA_3_2, numbers)).calls == (ToolCall("f", numbers),)
    assert not PYTHONIC.parse(written(LLAMA_3_2, USUAL)).calls_intact  # city=Oslo
