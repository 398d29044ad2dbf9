"""Lines out of bytes, and exit codes in words."""

import pytest
from SegExplainGui.worker.exit_reason import exit_reason
from SegExplainGui.worker.line_splitter import LineSplitter, LineTooLong


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_do_not_depend_on_where_the_bytes_are_cut(size):
    data = "eins\nzwölf €\r\n\r\n10 %\r50 %\r100 %\nohne Ende".encode()
    splitter, lines = LineSplitter(), []
    for start in range(0, len(data), size):
        lines += splitter.feed(data[start : start + size])
    assert lines == ["eins", "zwölf €", "", "100 %"]
    assert splitter.feed(b"", is_at_end=True) == ["ohne Ende"]
    assert splitter.feed(b"", is_at_end=True) == []


def test_a_long_line_is_refused_or_keeps_its_end():
    with pytest.raises(LineTooLong, match="begins with b'aaa"):
        LineSplitter(longest_bytes=100).feed(b"a" * 101)
    splitter = LineSplitter(keep_end_of_long_lines=True, longest_bytes=100)
    for _ in range(10):
        assert splitter.feed(b"a" * 60) == []
    (line,) = splitter.feed(b"b\n")
    assert line.endswith("aab")
    assert len(line) <= 101


@pytest.mark.parametrize(
    ("exit_code", "expected"),
    [
        (0, "it ended with exit code 0"),
        (3, "it ended with exit code 3"),
        (-11, "it crashed (signal SIGSEGV)"),
        (139, "it crashed (signal SIGSEGV)"),
        (-50, "it crashed (exit code -50)"),
        (-1073741819, "it crashed (exit code 0xC0000005)"),
        (0xC0000005, "it crashed (exit code 0xC0000005)"),
        (255, "it ended with exit code 255"),
    ],
)
def test_an_exit_code_is_put_into_words(exit_code, expected):
    assert exit_reason(exit_code, []) == (expected, "")
