"""Ids, ratings and titles out of Arrow columns of any sensible type, with the rows that have none."""

from typing import Final

import numpy
import polars
import pyarrow
import pyarrow.compute

from ssm4rec.data.bad_rows import Mask, Problem
from ssm4rec.data.streams import UNDECODABLE, excerpt, one_line
from ssm4rec.runtime.errors import InputError

# Up to here a float holds every whole number, by the width of its type.
EXACT_UP_TO: Final = {16: 2**11, 32: 2**24, 64: 2**53}

_IDS_ARE: Final = "ids are texts or whole numbers"


def read_ids(column: pyarrow.Array, name: str, what: str) -> tuple[polars.Series, list[Problem]]:
    """Return ids as texts; 7, 7.0 and the decimal 7 are the id "7".

    ``name`` of the column and ``what``, ``user id`` or ``item id``, are for messages. Raise InputError if no value of
    the column's type can be an id.
    """
    column = plain(column)
    kind = column.type
    problems: list[Problem] = []
    if pyarrow.types.is_integer(kind):
        texts = column.cast(pyarrow.string())
    elif pyarrow.types.is_floating(kind) or pyarrow.types.is_decimal(kind):
        texts, problems = _whole_numbers(column, name, what)
    elif is_text(kind):
        texts, problems = read_texts(column, name, what)
    else:
        raise InputError(f"column {name}: of type {kind}; {_IDS_ARE}")
    series = polars.Series(texts)
    missing = series.fill_null("").str.strip_chars() == ""
    unreadable = problems[0].rows if problems else numpy.zeros(len(series), dtype=bool)
    absent = Problem(
        name, f"{what} missing", missing.to_numpy() & ~unreadable, lambda _: "the id is missing; remove such rows"
    )
    return series, [*problems, absent]


def _whole_numbers(column: pyarrow.Array, name: str, what: str) -> tuple[pyarrow.Array, list[Problem]]:
    """Spell numbers of a type with fractions that are whole; NaN is a missing id."""
    kind = column.type
    if pyarrow.types.is_decimal(kind):
        floor = pyarrow.compute.floor(column)
        whole = pyarrow.compute.equal(column, floor)
        # A decimal's text has as many places as its scale; those of a whole one are zeros.
        texts = pyarrow.compute.replace_substring_regex(column.cast(pyarrow.string()), r"\.0*$", "")
    else:
        numbers = column.cast(pyarrow.float64())
        column = pyarrow.compute.if_else(pyarrow.compute.is_nan(numbers), None, numbers)
        exact = pyarrow.compute.less_equal(pyarrow.compute.abs(column), EXACT_UP_TO[kind.bit_width])
        whole = pyarrow.compute.and_(pyarrow.compute.equal(column, pyarrow.compute.floor(column)), exact)
        texts = pyarrow.compute.if_else(whole, column, None).cast(pyarrow.int64()).cast(pyarrow.string())
    bad: Mask = pyarrow.compute.invert(whole).fill_null(False).to_numpy(zero_copy_only=False)
    problem = Problem(name, f"{what} not readable", bad, lambda index: f"of type {kind}; {_IDS_ARE}: {column[index]}")
    return texts, [problem]


def read_texts(column: pyarrow.Array, name: str, what: str) -> tuple[pyarrow.Array, list[Problem]]:
    """Return a plain column of texts or bytes as valid UTF-8; what is not becomes null and is a problem."""
    try:
        texts = column if pyarrow.types.is_large_string(column.type) else column.cast(pyarrow.string())
        texts.validate(full=True)
    except pyarrow.ArrowInvalid:
        pass
    else:
        if not pyarrow.compute.any(pyarrow.compute.match_substring(texts, UNDECODABLE), min_count=0).as_py():
            return texts, []
    values = [None if value is None else _decoded(value) for value in column.cast(pyarrow.large_binary()).to_pylist()]
    problem = Problem(
        name,
        f"{what} not readable",
        numpy.array([isinstance(value, bytes) for value in values], dtype=bool),
        lambda index: f"{excerpt(str(values[index]))} is not text in UTF-8; set --encoding",
    )
    return pyarrow.array([None if isinstance(value, bytes) else value for value in values], pyarrow.string()), [problem]


def read_titles(column: pyarrow.Array, name: str) -> tuple[pyarrow.Array, list[Problem]]:
    """Return titles, of a column of any type that has a text form, as :func:`read_texts` returns texts."""
    column = plain(column)
    if is_text(column.type):
        return read_texts(column, name, "title")
    try:
        return column.cast(pyarrow.string()), []
    except pyarrow.ArrowNotImplementedError:  # lists and records have no text form
        raise InputError(f"column {name}: of type {column.type}; titles are texts") from None


def _decoded(value: bytes) -> str | bytes:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return value
    return value if UNDECODABLE in text else text


def read_ratings(column: pyarrow.Array, name: str) -> tuple[polars.Series, list[Problem]]:
    """Return ratings as float32, missing, empty and NaN as null; raise InputError for a type that holds no numbers."""
    column = plain(column)
    problems: list[Problem] = []
    if is_text(column.type):
        texts, problems = read_texts(column, name, "rating")
        series = polars.Series(texts)
        series = series.set(series == "", None)
        numbers = series.cast(polars.Float64, strict=False)
        if (numbers.is_null() & series.is_not_null()).any():
            # 3,5 as much of Europe writes 3.5; what may be a thousand, such as 3,500, is not readable.
            decimal_comma = series.str.extract(r"^\s*([+-]?\d+,\d{1,2})\s*$").str.replace(",", ".", literal=True)
            numbers = numbers.fill_null(decimal_comma.cast(polars.Float64))
        wrong = (series.is_not_null() & numbers.is_null()).to_numpy()
    else:
        types = pyarrow.types
        accepted = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null)
        if not any(is_such(column.type) for is_such in accepted):
            raise InputError(
                f"column {name}: of type {column.type}; ratings are numbers; choose another --rating-column"
            )
        series = polars.Series(column.cast(pyarrow.float64(), safe=False))
        numbers, wrong = series, numpy.zeros(len(series), dtype=bool)
    ratings = numbers.fill_nan(None).cast(polars.Float32)
    # A number too large for a rating becomes infinite.
    wrong |= ratings.is_infinite().fill_null(False).to_numpy()
    problem = Problem(
        name,
        "rating not readable",
        wrong,
        lambda index: f"not a rating: {excerpt(repr(series[index]))}; choose another --rating-column",
    )
    return ratings, [*problems, problem]


def plain(column: pyarrow.Array) -> pyarrow.Array:
    """Return a column with a dictionary's values in their places, views as texts; raise InputError if damaged."""
    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        try:
            column.validate(full=True)
            return plain(column.dictionary_decode())
        except pyarrow.ArrowException as error:
            raise InputError(f"a column of type {kind} is damaged ({one_line(error)}); get the file again") from None
    if pyarrow.types.is_string_view(kind) or pyarrow.types.is_binary_view(kind):
        return column.cast(pyarrow.large_binary())
    return column


def is_text(kind: pyarrow.DataType) -> bool:
    """Tell whether values of the type may be texts: Parquet's strings often come without the mark that says so."""
    return bool(
        pyarrow.types.is_string(kind)
        or pyarrow.types.is_large_string(kind)
        or pyarrow.types.is_binary(kind)
        or pyarrow.types.is_large_binary(kind)
        or pyarrow.types.is_fixed_size_binary(kind)
    )
