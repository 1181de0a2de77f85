"""Finds quotes that do not pair up in delimited text, before Arrow reads it: their lines are refused, or left out.

A value that begins with a quote ends at the next one that is not doubled (RFC 4180). A stray quote, as in ``"5 inch``,
therefore takes in all that follows until another quote, line ends included. Arrow accepts what then stands after that
quote and says nothing: the rows between are gone. Where the second quote happens to end a value, as in ``TV 5"``, the
text is well formed; the first quote is stray if, without it, most of what the value takes in are rows of the file.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow

from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.row_kinds import RowKinds
from ssm4rec.data.streams import BLOCK_BYTES, interruptible
from ssm4rec.runtime.errors import InputError

_LINE_END = re.compile(rb"\r\n|[\r\n]")
_QUOTE_CLOSED = re.compile(rb'"(?:[^"]++|"")*+"')


@contextmanager
def with_paired_quotes(
    stream: pyarrow.NativeFile, name: str, kinds: RowKinds, bad_rows: BadRows
) -> Iterator[pyarrow.NativeFile]:
    """Give the same bytes without the lines in which a quote is stray or never closed.

    Reading raises InputError, with the line, if bad rows are refused or the line is the header's. ``name`` is for
    messages.
    """
    with interruptible(_Check(name, kinds, bad_rows).passed) as check:
        yield pyarrow.TransformInputStream(stream, check)


class _Check:
    """Takes a file in pieces, the last one empty, and passes them on; if it may leave lines out, row by row."""

    def __init__(self, name: str, kinds: RowKinds, bad_rows: BadRows) -> None:
        self._name = name
        self._kinds = kinds
        self._bad_rows = bad_rows
        delimiter = re.escape(kinds.delimiter.encode())
        # All that stands in lines of its own, then one value with line ends in it.
        self._fields = re.compile(
            rb'(?:(?:"(?:[^"\r\n]++|"")*+"|[^"%b\r\n][^%b\r\n]*+|)(?:%b|\r?\n|\r))*+' % ((delimiter,) * 3)
        )
        self._long_value = re.compile(rb'"(?:[^"]++|"")*+"(?:%b|\r?\n|\r)' % delimiter)
        self._kept = b""  # the beginning of a row whose end was not read
        self._line = 1  # of that beginning
        self._headed = False  # whether more than blank lines came before it

    def passed(self, piece: pyarrow.Buffer) -> bytes:
        """Return the piece, or the whole rows that can be passed on with it."""
        read, kept = bytes(piece), self._kept
        plain = read and b'"' not in read and b'"' not in kept and not kept.endswith(b"\r")
        rows = self._whole_rows(read) if plain else self._well_quoted_rows(kept + read, final=not read)
        return rows if self._bad_rows.drops_all else read

    def _whole_rows(self, read: bytes) -> bytes:
        """Return what was kept and read, without quotes, up to the end of a row, and keep the rest."""
        kept, begin = self._kept, _row_begin(read, 0, len(read) - 1, 0)
        if not begin and len(kept) + len(read) > BLOCK_BYTES:  # Arrow refuses a longer row
            begin = len(read)
        if begin:
            self._count(kept, 0, len(kept))
            self._count(read, 0, begin)
        self._kept = read[begin:] if begin else kept + read
        return b"".join((kept, memoryview(read)[:begin])) if begin and self._bad_rows.drops_all else b""

    def _well_quoted_rows(self, text: bytes, *, final: bool) -> bytes:
        """Return a text up to the end of a row without the lines that have a stray quote, and keep the rest."""
        tail = b""
        if text.endswith(b"\r") and not final:  # half a line end, perhaps
            text, tail = text[:-1], b"\r"
        rows: list[bytes] = []
        start = begin = last = 0  # of what was not passed on, of the row, and of what was not looked at
        while True:
            stretch, last = last, self._fields.match(text, last).end()  # type: ignore[union-attr] # matches nothing, too
            begin = _row_begin(text, stretch, last, begin)
            if value := self._long_value.match(text, last):
                row_end = _LINE_END.search(text, value.end() - 1)
                if not (row_end or final):
                    break
                # As it would be read if this quote were not there.
                row = text[begin:last] + text[last + 1 : row_end.start() if row_end else len(text)]
                if not (further := self._kinds.further_rows(row)):
                    last = value.end()
                    begin = _row_begin(text, last - 1, last, begin)
                    continue
                fault = f" that takes in whole rows ({further}); remove the quote, or write the value in one line"
            elif not (fault := _fault(text, last, final=final)):
                break
            line_end = _LINE_END.search(text, last)
            if not (line_end or final) and len(text) - last <= BLOCK_BYTES:
                break
            self._count(text, start, begin)
            rows.append(text[start:begin])
            self._leave_out(text[begin:last], fault)
            start = begin = last = line_end.end() if line_end else len(text)
        end = len(text) if final or len(text) - begin > BLOCK_BYTES else begin
        self._count(text, start, end)
        rows.append(text[start:end])
        self._kept = text[end:] + tail
        return b"".join(rows)

    def _count(self, text: bytes, start: int, end: int) -> None:
        self._line += _line_ends(text, start, end)
        self._headed = self._headed or bool(text[start:end].strip())

    def _leave_out(self, before: bytes, fault: str) -> None:
        """Count a line as a bad row, or raise InputError; its row has ``before`` before the stray quote."""
        self._line += _line_ends(before, 0, len(before))
        message = f"{self._name}, line {self._line}: a quote opens a value{fault}"
        if not self._headed:
            raise InputError(message)
        self._bad_rows.malformed(message)
        self._line += 1


def _fault(text: bytes, start: int, *, final: bool) -> str:
    """Return what is wrong with the field at ``start``, which does not end in ``text``, or nothing."""
    if not text.startswith(b'"', start):
        return ""
    closed = _QUOTE_CLOSED.match(text, start)
    if closed and closed.end() < len(text):  # no delimiter or line end stands there
        return (
            ', and text follows the quote that closes it; inside a quoted value write "" for a quote, or remove the '
            "quote"
        )
    if not closed and (final or len(text) - start > BLOCK_BYTES):
        return " and is never closed; remove it, or close the value"
    return ""


def _row_begin(text: bytes, start: int, end: int, default: int) -> int:
    return max(text.rfind(b"\n", start, end), text.rfind(b"\r", start, end), default - 1) + 1


def _line_ends(text: bytes, start: int, end: int) -> int:
    return text.count(b"\n", start, end) or text.count(b"\r", start, end)
