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
    ends = re.compile(rb"[%b\r\n]" % re.escape(delimiter))
    # All that stands in lines of its own, then one value with line ends in it.
    fields = re.compile(
        rb'(?:(?:"(?:[^"\r\n]++|"")*+"|[^"%b\r\n][^%b\r\n]*+|)(?:%b|\r?\n|\r))*+' % ((re.escape(delimiter),) * 3)
    )
    long_value = re.compile(rb'"(?:[^"]++|"")*+"(?:%b|\r?\n|\r)' % re.escape(delimiter))
    open_field = b""  # what was read of a field whose end was not
    line = 1

    def check(piece: pyarrow.Buffer) -> bytes:
        nonlocal open_field, line
        read = bytes(piece)
        if b'"' not in read and not open_field.startswith(b'"'):
            line += read.count(b"\n")
            if read:
                open_field = b"" if ends.match(read, len(read) - 1) else b"."
            return read
        text = open_field + read
        last = 0
        while True:
            found = fields.match(text, last)
            begin, last = last, found.end() if found else last
            line += text.count(b"\n", begin, last)
            if not (value := long_value.match(text, last)):
                break
            if rows := _rows_in(text, begin, value, delimiter, width, wanted):
                raise InputError(
                    f"{name}, line {line}: a quote opens a value that takes in whole rows ({rows}); remove the "
                    "quote, or write the value without line ends"
                )
            line += value[0].count(b"\n")
            last = value.end()
        open_field = text[last:]
        if not open_field.startswith(b'"'):
            open_field = open_field[:1]  # enough to know that it began without a quote
            return read
        closed = _QUOTE_CLOSED.match(open_field)
        if closed and closed.end() < len(open_field):  # what stands there is no end of a field, or it were closed
            raise InputError(
                f"{name}, line {line}: a quote opens a value, and text follows the quote that closes it; inside "
                'a quoted value write "" for a quote, or remove the quote'
            )
        if not closed and (not read or len(open_field) > BLOCK_BYTES):
            raise InputError(
                f"{name}, line {line}: a quote opens a value and is never closed; remove it, or close the value"
            )
        return read

    return check


def _rows_in(
    text: bytes, stretch: int, value: re.Match[bytes], delimiter: bytes, width: int, wanted: Sequence[int]
) -> int:
    """Return how many rows a value takes in if each of its lines, quotes being letters, is a row; else 0.

    A row has all columns, its wanted values are not empty and have no blanks around them, and they are numbers where
    those of the first line are. What goes over the ends of ``text``, and the second such value of a row, is not looked
    at.

    Args:
        stretch: where the lines before the value begin in ``text``.
    """
    before = max(0, stretch - 1), value.start()
    begin = 1 + max(text.rfind(b"\n", *before), text.rfind(b"\r", *before))
    first = _LINE_END.search(text, value.start())
    if not (begin and first) or text.count(delimiter, begin, first.start()) != width - 1:
        return 0
    last = _LINE_END.search(text, value.end() - 1)
    rows = [line.split(delimiter) for line in text[begin : last.start() if last else len(text)].splitlines()]
    if any(len(row) != width for row in rows):
        return 0
    for place in wanted:
        values = [row[place] for row in rows]
        numbers = {one.replace(b".", b"").isdigit() for one in values if b'"' not in one}
        if len(numbers) > 1 or not all(one and one == one.strip() for one in values):
            return 0
    return len(rows) - 1
