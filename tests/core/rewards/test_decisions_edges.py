"""Where each kind of value ends, and what breaks off the decisions of a call."""

import pytest

from toolrest.core.dialects import get_dialect
from toolrest.core.rewards.decisions import find_decisions

HEAD = '<think> t </think>\n<tool_call>\n{"name": "f", "parameters": '


def decided(parameters, tail="}\n</tool_call>"):
    """(the text up to the byte that decided, the parameters so far), the name's decision aside."""
    text = HEAD + parameters + tail
    found = find_decisions(text.encode(), get_dialect("rlla"))
    blob = text.encode()
    return [(blob[len(HEAD) : d.position + 1].decode(), d.calls[-1].parameters) for d in found[1:]]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("{}", []),
        ('{"a": "x"}', [('{"a": "x"', {"a": "x"})]),
        ('{"a": [1]}', [('{"a": [1]', {"a": [1]})]),
        ('{"a": {"b": 2}}', [('{"a": {"b": 2}', {"a": {"b": 2}})]),
        ('{"a": 1}', [('{"a": 1}', {"a": 1})]),
        ('{"a": 1 }', [('{"a": 1 ', {"a": 1})]),
        ('{"a": 1\n}', [('{"a": 1\n', {"a": 1})]),
        ('{"a": 1\t}', [('{"a": 1\t', {"a": 1})]),
        ('{"a": 1\r}', [('{"a": 1\r', {"a": 1})]),
        ('{"a": true}', [('{"a": true}', {"a": True})]),
        ('{"a": null}', [('{"a": null}', {"a": None})]),
        ('{"a": -1.5e3}', [('{"a": -1.5e3}', {"a": -1500.0})]),
        ('{"é": "東"}', [('{"é": "東"', {"é": "東"})]),
        (
            '{ "a" : 1 , "b" : [] }',
            [('{ "a" : 1 ', {"a": 1}), ('{ "a" : 1 , "b" : []', {"a": 1, "b": []})],
        ),
        (
            '{"a": "x","b": 2,"c": "z"}',
            [
                ('{"a": "x"', {"a": "x"}),
                ('{"a": "x","b": 2,', {"a": "x", "b": 2}),
                ('{"a": "x","b": 2,"c": "z"', {"a": "x", "b": 2, "c": "z"}),
            ],
        ),
        # the same key again takes the later value
        ('{"a": "x","a": "y"}', [('{"a": "x"', {"a": "x"}), ('{"a": "x","a": "y"', {"a": "y"})]),
    ],
)
def test_where_a_value_is_decided(parameters, expected):
    assert decided(parameters) == expected


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ('{"a": 1, "b": ', 1),
        ('{"a": 1, "b"', 1),
        ('{"a": 1, "b', 1),
        ('{"a": 1, ', 1),
        ('{"a": 1,', 1),
        ('{"a": 1', 0),
        ('{"a": "x"', 1),
        ('{"a": "x', 0),
        ('{"a": [1, 2', 0),
        ('{"a": {"b": 1}', 1),
        ('{"a" 1, "b": 2', 0),
        ("{1: 2, ", 0),
        ('{"a": 1 "b": "x"', 1),
        ('{"a": x, "b": 1,', 0),
        ("{", 0),
    ],
)
def test_where_a_call_that_breaks_off_stops_to_decide(parameters, count):
    assert len(decided(parameters, tail="")) == count


def test_parameters_without_a_name_decide_nothing():
    text = HEAD.replace('"name": "f", ', "") + '{"a": 1}}\n</tool_call>'
    assert find_decisions(text.encode(), get_dialect("rlla")) == []


def test_a_name_at_the_very_end_is_not_yet_decided():
    text = HEAD[: HEAD.index('f"') + 1]
    assert find_decisions(text.encode(), get_dialect("rlla")) == []
    [decision] = find_decisions(f'{text}"'.encode(), get_dialect("rlla"))
    assert decision.position == len(text)


def test_an_earlier_call_stays_as_it_was():
    text = HEAD + '{"a": 1}}\n{"name": "g", "parameters": {"b": 2}}\n</tool_call>'
    found = find_decisions(text.encode(), get_dialect("rlla"))
    assert [len(d.calls) for d in found] == [1, 1, 2, 2]
    assert [d.calls[0].parameters for d in found] == [{}, {"a": 1}, {"a": 1}, {"a": 1}]
    assert [d.calls[-1].parameters for d in found] == [{}, {"a": 1}, {}, {"b": 2}]


def test_only_a_thought_that_is_open_takes_decisions_back():
    """Unclosed calls or an unclosed response after a whole thought leave them."""
    dialect = get_dialect("rlla")
    whole = HEAD + '{"a": 1}}\n</tool_call>'
    assert len(find_decisions(whole.encode(), dialect)) == 2
    assert len(find_decisions(whole.removesuffix("</tool_call>").encode(), dialect)) == 2
    assert len(find_decisions((whole + "\n<response> r").encode(), dialect)) == 2
    assert find_decisions(whole.replace("</think>", "").encode(), dialect) == []
