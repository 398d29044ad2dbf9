"""Bytes as they come through a pipe, cut into lines of text."""

LONGEST_LINE_BYTES = 8 << 20


class LineTooLong(ValueError):
    """A line grows without end: no line of the protocol does."""


class LineSplitter:
    """Collects bytes that are cut anywhere, inside a character too, and gives the complete lines.

    Of a line that was written over in place by carriage returns, such as a progress bar, the last state is given.

    Args:
        keep_end_of_long_lines: Forget the beginning of a line above ``longest_bytes`` instead of raising.
        longest_bytes: Most bytes of an unfinished line that are kept.
    """

    def __init__(self, *, keep_end_of_long_lines: bool = False, longest_bytes: int = LONGEST_LINE_BYTES) -> None:
        self._keep_end = keep_end_of_long_lines
        self._longest_bytes = longest_bytes
        self._pending = bytearray()

    def feed(self, data: bytes, *, is_at_end: bool = False) -> list[str]:
        """The lines that ``data`` completes, without their ends; at the end also a last one that has no end.

        Raises:
            LineTooLong: the unfinished line is longer than is allowed. It is dropped.
        """
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = bytes(self._pending) + lines[0]
            self._pending.clear()
        self._pending += rest
        if is_at_end and self._pending:
            lines.append(bytes(self._pending))
            self._pending.clear()
        if len(self._pending) > self._longest_bytes:
            self._shorten()
        return [_text(line) for line in lines]

    def _shorten(self) -> None:
        if self._keep_end:
            del self._pending[: -self._longest_bytes // 2]
            return
        start = bytes(self._pending[:40])
        self._pending.clear()
        raise LineTooLong(f"it wrote a line of more than {self._longest_bytes >> 20} MiB, which begins with {start!r}.")


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip("\r").rsplit("\r", 1)[-1]
