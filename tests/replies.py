"""Replies for property tests, and what can happen to their bytes."""

from hypothesis import strategies as st

from toolrest.core.dialects import ToolCall

_text = st.text(max_size=12) | st.text(
    alphabet="<>/{}[]()\"'\\:;,= \n|toolcathinkmes_ 東é🙂", max_size=20
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,10}", fullmatch=True)
calls = st.lists(
    st.builds(ToolCall, _names, st.dictionaries(_names, json_values, max_size=3)), max_size=3
).map(tuple)
prose = (
    st.none() | _text | st.sampled_from(("I use <tool_call> {x} [f(a=1)] here", "東京へ 🙂", "a"))
)


@st.composite
def spoiled(draw, data: bytes) -> bytes:
    """The bytes cut, with others between, or with a part gone."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 12)))
        piece = draw(
            st.binary(max_size=4)
            | st.sampled_from(
                (
                    *(
                        b"<think>",
                        b"</think>",
                        b"<tool_call>",
                        b"{",
                        b'"',
                        b"'",
                        b"[",
                        b"(",
                        b"\r\n",
                    ),
                    *(b"<parameter=", b"<arg_value>", b'<parameter name="', b"<|eom|>"),
                )
            )
        )
        data = data[:at] + piece + data[end:]
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data
