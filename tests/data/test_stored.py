"""Samples that are kept as lines are those that were kept."""

import datetime
import errno
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.data.sample import Sample
from toolrest.data.stored import Lines, NotStorable, decode_sample, encode_sample, pick
from toolrest.errors import InputError

TEXT = st.text(st.characters(codec=None), max_size=8)  # lone surrogates too
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.lists(st.dictionaries(TEXT, VALUES, max_size=3), max_size=2).map(tuple)
SAMPLES = st.builds(
    Sample,
    prompt=OBJECTS,
    ground_truth=TEXT,
    source=TEXT,
    identity=TEXT,
    demonstration=st.none() | TEXT,
    tools=st.none() | OBJECTS,
    true_names=st.none() | st.dictionaries(TEXT, TEXT, max_size=2),
    declared=OBJECTS,
    group=TEXT,
    row=TEXT,
)
PLAIN = Sample(({"role": "user", "content": "Hi"},), "Ho", "f", "0", row="0")


def alike(a, b):
    """Equal, of the same types, with keys in the same order; `row` is no part of equality."""
    return repr(a) == repr(b)


@given(SAMPLES)
def test_a_line_gives_its_sample_back(sample):
    line = encode_sample(sample, checked=True)
    assert line.count(b"\n") == 1
    assert alike(decode_sample(line), sample)


@pytest.mark.parametrize(
    "value",
    [datetime.date(2026, 1, 1), {1: "a"}, b"a", (1,), {"a"}, float("nan")],
    ids=["date", "number as key", "bytes", "tuple", "set", "nan"],
)
def test_what_json_does_not_give_back_is_not_stored(value):
    sample = replace(PLAIN, tools=({"name": "f", "x": value},))
    with pytest.raises(NotStorable):
        encode_sample(sample, checked=True)


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"null", b"[1,2,3,4,5,6,7,8,9,10]", b'"' + b"[" * 9, b"\xff\xfe"],
)
def test_a_line_that_is_no_sample(line):
    with pytest.raises(ValueError):
        decode_sample(line)


@given(samples=st.lists(SAMPLES, max_size=5), data=st.data(), on_disk=st.booleans())
def test_samples_are_read_by_their_places(samples, data, on_disk, tmp_path_factory):
    file = (tmp_path_factory.mktemp("lines") / "a").open("w+b") if on_disk else None
    lines = Lines(file)
    cut = data.draw(st.integers(0, len(samples)))
    lines.add(samples[:cut])
    lines.add(samples[cut:])
    stored = lines.samples()
    assert len(stored) == len(samples)
    assert all(map(alike, stored, samples))
    some = data.draw(st.slices(len(samples)))
    assert all(map(alike, stored[some], samples[some]))
    assert len(stored[some]) == len(samples[some])
    places = data.draw(st.lists(st.integers(0, len(samples) - 1))) if samples else []
    assert all(map(alike, pick(stored, places), pick(samples, places)))
    view = stored[some]
    assert view.any_declares == any(each.declared for each in samples[some])
    if file is not None:
        file.close()


class Full(io.BytesIO):
    """A file on a disk that is full after some bytes; it is read by its place, as a file is."""

    room = 300

    def write(self, data):
        if self.tell() + len(data) > self.room:
            super().write(data[: self.room - self.tell()])
            raise OSError(errno.ENOSPC, "no space left")
        return super().write(data)


def test_a_full_disk_leaves_the_lines_in_memory(monkeypatch):
    monkeypatch.setattr(
        "toolrest.data.stored._pread", lambda file, n, at: file.getvalue()[at : at + n]
    )
    samples = [replace(PLAIN, identity=str(number)) for number in range(20)]
    lines, whole = Lines(Full()), Lines(None)
    for sample in samples:
        lines.add([sample])
        whole.add([sample])
    assert lines.file is None and lines.sha256 == whole.sha256
    assert list(lines.samples()) == samples


def test_a_key_of_the_environment_is_not_written(tmp_path, monkeypatch):
    key = "sk-proj-aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    samples = [PLAIN, replace(PLAIN, ground_truth=f"Bearer {key}"), PLAIN]
    with (tmp_path / "a").open("w+b") as file:
        lines = Lines(file)
        for sample in samples:
            lines.add([sample])
        assert lines.file is None and list(lines.samples()) == samples
    assert key not in (tmp_path / "a").read_text()


def test_a_file_that_is_cut_off_while_it_is_in_use_is_said(tmp_path):
    with (tmp_path / "a").open("w+b") as file:
        lines = Lines(file)
        lines.add([PLAIN, PLAIN])
        stored = lines.samples()
        file.truncate(lines.ends[0])
        assert stored[0] == PLAIN
        with pytest.raises(InputError, match="changed while they were in use"):
            stored[1]
