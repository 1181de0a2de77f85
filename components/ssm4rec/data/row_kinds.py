"""What the rows of a delimited file look like, learned from its beginning: tells rows from lines of a text."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ssm4rec.data.time_units import RANGES

_SAMPLE_ROWS: Final = 200
# Some ratings are missing, a few ids have another form.
_ENOUGH: Final = 0.9

_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d.*")
_DIGIT: Final = re.compile(r"\d")
# From narrow to wide. Numbers are of the size of times in one unit, or smaller (order numbers, ratings, ids).
_KINDS: Final = ("date", *RANGES, "digits")


@dataclass(frozen=True)
class RowKinds:
    """What the rows of a file have in common.

    Attributes:
        delimiter: one character of ASCII.
        kinds: of the values of those wanted columns that have one, by place; the kinds are those of ``_KINDS``.
    """

    delimiter: str
    width: int
    kinds: dict[int, str]

    @classmethod
    def of(cls, sample: bytes, delimiter: str, width: int, wanted: Sequence[int]) -> "RowKinds":
        """Learn the kinds of the columns at the ``wanted`` places from a file's beginning with its header."""
        rows: list[list[str]] = []
        # A quote may take in the whole sample: then rows are read as if quotes were letters.
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            if not rows:
                first = islice(_rows(sample, delimiter, quoting), _SAMPLE_ROWS)
                rows = [row for row in first if len(row) == width][1:]
        kinds = {place: _kind([row[place] for row in rows]) for place in wanted}
        return cls(delimiter, width, {place: kind for place, kind in kinds.items() if kind})

    def further_rows(self, text: bytes) -> int:
        """Return how many rows follow the first one if most of a text is rows of the file, else 0.

        Such a row has all columns, and its wanted values have the kinds of their columns. Blank lines are passed over.
        In a file whose columns have no kinds none is found.
        """
        if not self.kinds or text.count(self.delimiter.encode()) < 2 * (self.width - 1):
            return 0
        rows = [row for row in _rows(text, self.delimiter, csv.QUOTE_MINIMAL) if any(map(str.strip, row))]
        whole = [row for row in rows if len(row) == self.width]
        alike = sum(all(_is(row[place], kind) for place, kind in self.kinds.items()) for row in whole)
        return alike - 1 if 2 * alike > len(rows) else 0


def _rows(text: bytes, delimiter: str, quoting: int) -> Iterator[list[str]]:
    # Latin-1 reads any bytes. A value longer than the module's limit ends the reading: what was read is enough.
    reader = csv.reader(io.StringIO(text.decode("latin-1"), newline=""), delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
    try:
        yield from reader
    except csv.Error:
        return


def _kind(values: Sequence[str]) -> str:
    """Return the narrowest kind that nearly all values have, or "" if there is none."""
    kinds = (kind for kind in _KINDS if sum(_is(value, kind) for value in values) >= _ENOUGH * len(values))
    return next(kinds, "") if values else ""


def _is(value: str, kind: str) -> bool:
    value = value.strip()
    if kind == "digits":
        return bool(_DIGIT.search(value))
    if kind == "date":
        return bool(_DATE.fullmatch(value))
    low, high = RANGES[kind]
    return bool(_NUMBER.fullmatch(value)) and low <= abs(float(value)) < high
