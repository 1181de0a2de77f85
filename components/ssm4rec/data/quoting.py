"""Refuses delimited text whose quotes do not pair up, before Arrow reads it.

A value that begins with a quote ends at the next one that is not doubled (RFC 4180). A stray quote, as in ``"5 inch``,
therefore takes in all that follows until another quote, line ends included. Arrow accepts what then stands after that
quote and says nothing: the rows between are gone. Where the second quote happens to end a value, as in ``TV 5"``, the
text is well formed; it is refused if each line of such a value is a row by itself.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow

from ssm4rec.data.streams import BLOCK_BYTES, interruptible
from ssm4rec.errors import InputError

_LINE_END = re.compile(rb"[\r\n]")
_NUMBER = re.compile(rb"[-+.\d]+")
_DIGIT = re.compile(rb"\d")
_QUOTE_CLOSED = re.compile(rb'"(?:[^"]++|"")*+"')


@contextmanager
def with_paired_quotes(
    stream: pyarrow.NativeFile, name: str, delimiter: str, width: int, wanted: Sequence[int]
) -> Iterator[pyarrow.NativeFile]:
    """Give the same bytes; reading them raises InputError, with the line, where a quote is stray or never closed.

    Args:
        stream: delimited text in UTF-8, from its start.
        name: of the file, for messages.
        delimiter: one character of ASCII.
        width: the number of columns.
        wanted: the places of the columns that are read.
    """
    with interruptible(_checking(name, delimiter.encode(), width, wanted)) as check:
        yield pyarrow.TransformInputStream(stream, check)


def _checking(name: str, delimiter: bytes, width: int, wanted: Sequence[int]) -> Callable[[pyarrow.Buffer], bytes]:
    """Return what is given the pieces of a file, the last one empty, and returns them as they are."""
    # All that stands in lines of its own, then one value with line ends in it.
    fields = re.compile(
        rb'(?:(?:"(?:[^"\r\n]++|"")*+"|[^"%b\r\n][^%b\r\n]*+|)(?:%b|\r?\n|\r))*+' % ((re.escape(delimiter),) * 3)
    )
    long_value = re.compile(rb'"(?:[^"]++|"")*+"(?:%b|\r?\n|\r)' % re.escape(delimiter))
    kept = b""  # the beginning of a row whose end was not read
    line = 1  # of that beginning

    def check(piece: pyarrow.Buffer) -> bytes:
        nonlocal kept, line
        read = bytes(piece)
        if b'"' not in read and b'"' not in kept and not kept.endswith(b"\r"):
            begin = _row_begin(read, 0, len(read) - 1, 0)
            line += _line_ends(read, begin)
            # Arrow refuses a longer row.
            kept = read[begin:] if begin else (kept + read if len(kept) + len(read) <= BLOCK_BYTES else b"")
            return read
        text, tail = kept + read, b""
        if read and text.endswith(b"\r"):  # half a line end, perhaps
            text, tail = text[:-1], b"\r"
        begin, last = 0, 0  # of the row, and of what was not looked at
        while True:
            stretch, last = last, fields.match(text, last).end()  # type: ignore[union-attr] # matches nothing, too
            begin = _row_begin(text, stretch, last, begin)
            value = long_value.match(text, last)
            row_end = value and _LINE_END.search(text, value.end() - 1)
            if not value or (read and not row_end):
                break
            row = text[begin : row_end.start() if row_end else len(text)]
            if rows := _rows_in(row, last - begin, delimiter, width, wanted):
                raise InputError(
                    f"{name}, line {line + _line_ends(text, last)}: a quote opens a value that takes in whole rows "
                    f"({rows}); remove the quote, or write the value without line ends"
                )
            last = value.end()
            begin = _row_begin(text, last - 1, last, begin)
        if not value and (fault := _fault(text, last, final=not read)):
            raise InputError(f"{name}, line {line + _line_ends(text, last)}: a quote opens a value{fault}")
        line += _line_ends(text, begin)
        kept = text[begin:] + tail
        return read

    return check


def _fault(text: bytes, start: int, *, final: bool) -> str:
    """Return what is wrong with an open field, or nothing.

    Args:
        start: of the field, after which no field ends in ``text``.
        final: whether the file ends with ``text``.
    """
    if not text.startswith(b'"', start):
        return ""
    closed = _QUOTE_CLOSED.match(text, start)
    if closed and closed.end() < len(text):  # what stands there is no end of a field, or it were closed
        return (
            ', and text follows the quote that closes it; inside a quoted value write "" for a quote, or remove the '
            "quote"
        )
    if not closed and (final or len(text) - start > BLOCK_BYTES):
        return " and is never closed; remove it, or close the value"
    return ""


def _row_begin(text: bytes, start: int, end: int, default: int) -> int:
    """Return the place after the last line end of a stretch of text."""
    return max(text.rfind(b"\n", start, end), text.rfind(b"\r", start, end), default - 1) + 1


def _line_ends(text: bytes, end: int) -> int:
    return text.count(b"\n", 0, end) or text.count(b"\r", 0, end)


def _rows_in(text: bytes, start: int, delimiter: bytes, width: int, wanted: Sequence[int]) -> int:
    """Return how many rows a value takes in if each of its lines, quotes being letters, is a row; else 0.

    A row has all columns, its wanted values are not empty and have no blanks around them, and they have digits where
    those of the first line are numbers. Blank lines are passed over. The second such value of a row is not looked at.

    Args:
        text: the row that has the value, without its line end.
        start: where the value begins.
    """
    first = _LINE_END.search(text, start)
    if not first or text.count(delimiter, 0, first.start()) != width - 1:
        return 0
    rows = [line.split(delimiter) for line in text.splitlines() if line.strip()]
    if any(len(row) != width for row in rows):
        return 0
    for place in wanted:
        values = [row[place] for row in rows]
        if not all(one and one == one.strip() for one in values):
            return 0
        if _NUMBER.fullmatch(values[0]) and not all(_DIGIT.search(one) for one in values):
            return 0
    return len(rows) - 1
