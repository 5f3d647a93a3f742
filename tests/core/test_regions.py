import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from labelling import LETTERS, label_pieces

from toolrest.core.dialects import get_dialect
from toolrest.core.regions import Region, label_tokens
from toolrest.core.vocabulary import Vocabulary

CALL = (
    '<think> use {"name"} </think>\n<tool_call>\n'
    '{"name": "Get News", "parameters": {"page": "1"}}\n'
    '{"name": "B", "parameters": {}}\n</tool_call>\n<response> done </response>'
)


def by_character(text: str) -> str:
    return label_pieces(list(text))


def test_every_part_of_a_reply_by_hand():
    pieces = [
        *("<think>", " go", " </", "think>", "\n", "<tool_call>\n"),
        *('{"', "name", '":', ' "', "Get", "News", '",', ' "parameters":', ' {"', "page"),
        *('": "1"', "}", "}\n", "</tool_call>"),
    ]
    assert label_pieces(pieces) == "FT" + "FFFF" + "FFFF" + "NN" + "FF" + "PPPP" + "FF"


def test_all_calls_of_a_block_count():
    labels = by_character(CALL)
    assert labels.count("N") == len("Get News") + len("B")
    assert labels.count("P") == len('{"page": "1"}') + len("{}")
    assert labels.count("T") == len(' use {"name"} ')
    assert labels.count("R") == len(" done ")
    assert "." not in labels


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        ('"A', "N"),  # one byte of scaffolding, one of the name: the name is more decisive
        (': "A', "F"),  # three bytes of scaffolding, one of the name: most bytes win
    ],
)
def test_a_straddling_token_takes_most_of_its_bytes(piece, expected):
    head = '<tool_call>\n{"name": "A", "parameters": {}}'
    at = head.index(piece)
    pieces = [head[:at], piece, head[at + len(piece) :], "\n</tool_call>"]
    assert label_pieces(pieces)[1] == expected


def test_a_tie_between_parameters_and_scaffolding_goes_to_the_parameters():
    pieces = ['<tool_call>\n{"name": "A", "parameters": {"x": 1', "}}", "\n</tool_call>"]
    assert label_pieces(pieces)[1] == "P"


def test_scaffolding_and_the_end_of_turn_can_be_other():
    table = [
        b"<tool_call>",
        b'{"name": "',
        b"A",
        b'", "parameters": ',
        b"{}",
        b"}",
        b"</tool_call>",
    ]
    ids = torch.arange(len(table) + 1).unsqueeze(0)
    vocabulary = Vocabulary.from_table([*table, b""], end_ids=[len(table)])
    labels = label_tokens(
        ids, torch.ones_like(ids), vocabulary, get_dialect("rlla"), scaffolding=Region.OTHER
    )
    f, n, p, o = Region.FORMAT, Region.NAME, Region.PARAMETERS, Region.OTHER
    assert labels.tolist() == [[f, o, n, o, p, o, f, o]]


def test_an_end_of_turn_token_is_format():
    ids = torch.tensor([[0, 1]])
    vocabulary = Vocabulary.from_table([b"<think> a", b""], end_ids=[1])
    labels = label_tokens(ids, torch.ones_like(ids), vocabulary, get_dialect("rlla"))
    assert labels.tolist() == [[Region.FORMAT, Region.FORMAT]]


def test_each_run_of_the_mask_is_a_turn_of_its_own():
    vocabulary = Vocabulary.from_table([b"<think>", b" a", b" b"])
    ids = torch.tensor([[0, 1, 1, 2, 0, 1]])
    mask = torch.tensor([[1, 1, 0, 1, 1, 1]])
    labels = label_tokens(ids, mask, vocabulary, get_dialect("rlla"))
    f, t, o = Region.FORMAT, Region.REASONING, Region.OTHER
    assert labels.tolist() == [[f, t, o, o, f, t]]


def test_rows_are_scanned_by_themselves():
    vocabulary = Vocabulary.from_table([b"<think>", b" a"])
    ids = torch.tensor([[0, 1], [1, 1], [0, 0]])
    mask = torch.tensor([[1, 1], [1, 1], [0, 0]])
    labels = label_tokens(ids, mask, vocabulary, get_dialect("rlla"))
    assert labels.tolist() == [[1, 4], [0, 0], [0, 0]]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\[B, T\]"):
        label_tokens(
            torch.zeros(1, 2), torch.zeros(1, 3), Vocabulary.from_table([b"a"]), get_dialect("rlla")
        )


@given(st.data())
def test_labels_do_not_depend_on_the_tokenisation(data):
    """Pure tokens agree with the labels by character, however the text is cut."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(CALL) - 1))))
    bounds = [0, *cuts, len(CALL)]
    pieces = [CALL[a:b] for a, b in itertools.pairwise(bounds)]
    single = by_character(CALL)
    for start, piece, label in zip(bounds, pieces, label_pieces(pieces), strict=False):
        inside = single[start : start + len(piece)]
        assert label in inside
        assert inside.count(label) == max(inside.count(letter) for letter in set(inside))


@given(st.lists(st.binary(max_size=6), min_size=1, max_size=30))
def test_arbitrary_bytes_never_raise(table):
    assert len(label_pieces(table)) == len(table)


@given(st.integers(0, len(CALL)), st.binary(max_size=4))
def test_noise_in_a_reply_keeps_what_stands_before_it(at, noise):
    """What was recognised before a break keeps its region: the thought, for one."""
    clean = CALL.encode()
    broken = clean[:at] + noise + clean[at:]
    labels = label_pieces([bytes([byte]) for byte in broken])
    end = min(at, CALL.index("</think>"))
    assert labels[7:end] == "T" * max(0, end - 7)


def by_bytes(text, openings=None, mask=None, dialect="hermes"):
    """Labels of the bytes of one row."""
    vocabulary = Vocabulary.from_table([bytes([byte]) for byte in range(256)])
    ids = torch.tensor([list(text.encode())])
    mask = torch.ones_like(ids) if mask is None else torch.tensor([mask])
    labels = label_tokens(ids, mask, vocabulary, get_dialect(dialect), openings=openings)
    letters = {region: letter for letter, region in LETTERS.items()}
    return "".join(letters[Region(label)] for label in labels[0].tolist())


THOUGHT = "I go.\n</think>\n\nHello!"
"""What goes on after a prompt that ends with `<think>`."""
GOES_ON = "T" * 6 + "F" * 10 + "R" * 6


@pytest.mark.parametrize("dialect", ["hermes", "qwen_xml", "llama3", "pythonic"])
@pytest.mark.parametrize("opening", ["<think>\n", "<think>"])
def test_a_reply_that_the_prompt_has_begun(dialect, opening):
    assert by_bytes(THOUGHT, [opening], dialect=dialect) == GOES_ON
    cut = THOUGHT[:5]
    assert by_bytes(cut, [opening], dialect=dialect) == "T" * 5, "an unclosed thought is a thought"
    assert by_bytes(cut, dialect=dialect) == "R" * 5


def test_a_thought_that_the_prompt_has_ended():
    assert by_bytes("Hello!", ["<think>\n\n</think>\n\n"]) == "R" * 6
    assert by_bytes("Hello!", ["</think>"]) == "R" * 6


def test_what_follows_a_begun_thought_keeps_its_own_labels():
    assert by_bytes("t</think>oh no", ["<think>"], dialect="rlla") == "T" + "F" * 8 + "." * 5
    assert by_bytes("t</think>oh no<response>", ["<think>\n\n"], dialect="rlla") == (
        "T" + "F" * 8 + "." * 5 + "F" * 10
    )


def test_every_row_has_its_own_opening():
    vocabulary = Vocabulary.from_table([bytes([byte]) for byte in range(256)])
    ids = torch.tensor([list(b"Hi")] * 2)
    labels = label_tokens(
        ids, torch.ones_like(ids), vocabulary, get_dialect("hermes"), openings=["", "<think>\n"]
    )
    assert labels.tolist() == [[Region.RESPONSE] * 2, [Region.REASONING] * 2]
    with pytest.raises(ValueError, match="1 openings for 2 rows"):
        label_tokens(
            ids, torch.ones_like(ids), vocabulary, get_dialect("hermes"), openings=["<think>"]
        )


def test_a_later_turn_begins_where_the_tokens_between_left_off():
    """Its prompt is what the environment wrote since the turn before, not the row's first."""
    first, result, second = "Hi", "<result>5</result>\nassistant\n<think>\n", "go"
    mask = [1] * len(first) + [0] * len(result) + [1] * len(second)
    labels = by_bytes(first + result + second, [""], mask)
    assert labels == "RR" + "." * len(result) + "TT"
    plain = result.replace("<think>\n", "")
    mask = [1] * len(first) + [0] * len(plain) + [1] * len(second)
    labels = by_bytes(first + plain + second, ["<think>"], mask)
    assert labels == "TT" + "." * len(plain) + "RR"


@given(data=st.data(), text=st.text(alphabet="<>/think abc\n{}é", max_size=40))
def test_labels_after_an_opening_are_those_of_the_whole_turn(data, text):
    at = data.draw(st.integers(0, len(text)))
    for whole in (text, "<think>\n" + text):
        opening, rest = whole[: len(whole) - len(text) + at], text[at:]
        labels = by_bytes(whole)
        assert by_bytes(rest, [opening]) == labels[len(opening.encode()) :]
