"""Refuses delimited text whose quotes do not pair up, before Arrow reads it.

A value that begins with a quote ends at the next one that is not doubled (RFC 4180). A stray quote, as in ``"5 inch``,
therefore takes in all that follows until another quote, line ends included. Arrow accepts what then stands after that
quote and says nothing: the rows between are gone.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow

from ssm4rec.data.streams import BLOCK_BYTES, interruptible
from ssm4rec.errors import InputError

_QUOTE_CLOSED = re.compile(rb'"(?:[^"]++|"")*+"')


@contextmanager
def with_paired_quotes(stream: pyarrow.NativeFile, name: str, delimiter: str) -> Iterator[pyarrow.NativeFile]:
    """Give the same bytes; reading them raises InputError, with the line, where a quote is stray or never closed.

    Args:
        stream: delimited text in UTF-8, from its start.
        name: of the file, for messages.
        delimiter: one character of ASCII.
    """
    with interruptible(_checking(name, delimiter.encode())) as check:
        yield pyarrow.TransformInputStream(stream, check)


def _checking(name: str, delimiter: bytes) -> Callable[[pyarrow.Buffer], bytes]:
    """Return what is given the pieces of a file, the last one empty, and returns them as they are."""
    ends = re.compile(rb"[%b\r\n]" % re.escape(delimiter))
    fields = re.compile(
        rb'(?:(?:"(?:[^"]++|"")*+"|[^"%b\r\n][^%b\r\n]*+|)(?:%b|\r?\n|\r))*+' % ((re.escape(delimiter),) * 3)
    )
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
        found = fields.match(text)
        last = found.end() if found else 0
        line += text.count(b"\n", 0, last)
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
