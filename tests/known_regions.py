"""Responses in the RLLA dialect as pieces of which the region is known: (letter, text).

The letters are those of tests/labelling.py but "O", which is text in no part of a reply, and "-",
a tool's output between two turns, which the policy did not write.
"""

from itertools import chain


def call(name, parameters):
    """The pieces of a call's line: (region's letter, text)."""
    return [
        ("F", '{"name": "'),
        *(("N", name), ("F", '", "parameters": '), ("P", parameters)),
        *(("F", "}"), ("F", "\n")),
    ]


def reply(thought, calls=(), said=None):
    """The pieces of a well-formed reply."""
    pieces = [("F", "<think>"), ("T", thought), ("F", "</think>"), ("F", "\n")]
    if calls:
        pieces += [("F", "<tool_call>"), ("F", "\n"), *chain(*calls), ("F", "</tool_call>")]
    if said is not None:
        pieces += [("F", "<response>"), ("R", said), ("F", "</response>")]
    return pieces


END = ("F", "<|im_end|>")
SAVE = call("SaveParcel", '{"room": "M4177", "author": "Losros"}')
RESPONSES = [
    [*reply(" save the parcel ", [SAVE]), END],
    [*reply(" a longer thought about the room and the author ", [call("FindPhoto", "{}")]), END],
    [*reply(" both ", [SAVE, call("ShareTrain", '{"name": "B", "city": "Vana"}')]), END],
    [("O", "no block at all, only stray text"), END],
    [*reply(" nothing to call ", said=" done "), END],
    [
        *reply(" first ", [call("OpenDoor", '{"hours": 3}')]),
        *(END, ("-", "the door is open"), *reply("", said=" it is open now "), END),
    ],
    [*reply(" cut short ", [SAVE])[:-4]],
    [("O", "well"), *reply(" late ", said=" a response after stray text "), END],
]


def as_tokens(pieces, tokenizer):
    """(ids, letters) of a response: every piece is tokenised by itself."""
    ids, letters = [], []
    for letter, text in pieces:
        piece = tokenizer(text)["input_ids"] if text else []
        ids += piece
        letters += [letter] * len(piece)
    return ids, letters
