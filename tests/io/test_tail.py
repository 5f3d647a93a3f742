"""What is new at the end of a growing file."""

from toolrest.io.tail import Tail


def test_each_whole_line_is_read_once_and_a_half_written_one_is_waited_for(tmp_path):
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.read() == []
    path.write_bytes(b"one\ntwo\nth")
    assert tail.read() == ["one", "two"] and not tail.restarted
    assert tail.read() == []
    with path.open("ab") as file:
        file.write("ree \u2028 é\n".encode())
    assert tail.read() == ["three \u2028 é"]


def test_a_file_that_was_replaced_or_cut_is_read_anew(tmp_path):
    path = tmp_path / "log"
    path.write_text("one\ntwo\n")
    tail = Tail(path)
    tail.read()
    (tmp_path / "new").write_text("one\nother\n")
    (tmp_path / "new").replace(path)
    assert tail.read() == ["one", "other"] and tail.restarted
    path.write_text("x\n")
    assert tail.read() == ["x"] and tail.restarted
    assert tail.read() == [] and not tail.restarted
    path.unlink()
    assert tail.read() == []


def test_what_is_no_file_has_no_lines(tmp_path):
    assert Tail(tmp_path).read() == []
