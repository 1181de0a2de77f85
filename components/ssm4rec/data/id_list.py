"""Files that list ids: the users who are recommended something, the items that may be, items with their titles."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import polars
import pyarrow
import pyarrow.compute

from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.delimited import ColumnError
from ssm4rec.data.download import fetch
from ssm4rec.data.locations import FORMATS, format_of_name, local_path
from ssm4rec.data.readers import read_batches
from ssm4rec.data.streams import TextForm
from ssm4rec.data.values import read_ids, read_titles
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import cache_folder

_OTHER_FLAGS: Final = re.compile(r"(, or|;) (set|check|choose another) --(source|format|encoding|bad-rows)\b.*", re.S)
"""The end of messages that name a flag of prepare_data, whose readers these are."""


def read_id_list(address: str, column: str, flag: str) -> pyarrow.LargeStringArray:
    """Return the ids in a column of a file of CSV, JSONL or Parquet, each once, in the order of the file.

    They are read as those of events: 7 and 7.0 are the id "7". ``flag`` gave the address; it stands in messages. Raise
    InputError if the file cannot be had or read, lacks the column or an id, or lists none.
    """
    found = [batch[column] for batch in read_columns(address, [column], flag)]
    listed = polars.concat(found).unique(maintain_order=True) if found else polars.Series(dtype=polars.String)
    if not len(listed):
        raise InputError(f"{flag} {address}: lists no id; leave the flag out, or list some")
    return listed.to_arrow().cast(pyarrow.large_string())


def read_columns(address: str, columns: Sequence[str], flag: str) -> Iterator[polars.DataFrame]:
    """Stream columns of one file as texts: ids in the first, of which none may be missing, and others that may.

    Raise InputError as :func:`read_id_list` does.
    """
    needed = " and ".join(columns)
    if (path := local_path(address)) and not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise InputError(f"{flag} {address}: {what}; give one file, with the column {needed}")
    kind = format_of_name(address)
    if kind is None:
        raise InputError(f"{flag} {address}: the name does not tell the format; call it .{', .'.join(FORMATS)}")
    try:
        file, bad_rows, row = fetch(address, cache_folder("")), BadRows(), 1
        for batch in read_batches(file.path, kind, columns, columns, TextForm(), bad_rows):
            ids, problems = read_ids(batch.column(columns[0]), columns[0], "id")
            read = {columns[0]: ids.cast(polars.String)}
            for name in columns[1:]:
                texts, undecodable = read_titles(batch.column(name), name)
                read[name] = polars.Series(texts).cast(polars.String)
                problems += undecodable
            bad_rows.good(problems, batch.num_rows, str(file.path), row)
            yield polars.DataFrame(read)
            row += batch.num_rows
    except ColumnError as error:
        raise InputError(f"{flag} {error}; one must be called {error.column}") from None
    except InputError as error:
        said, other = str(error), _OTHER_FLAGS.search(str(error))
        if other:
            said = said[: other.start()]
            if other[1] == ";":  # the message has no other way out
                said += f"; give a CSV, JSONL or Parquet file in UTF-8, named so, with the column {needed}"
        raise InputError(f"{flag} {said}") from None


def check_spaces(listed: pyarrow.Array, known: pyarrow.Array, where: str) -> None:
    """Raise InputError if an id that is not known has spaces around it, and one that is known or listed has not."""
    unknown = listed.filter(pyarrow.compute.invert(pyarrow.compute.is_in(listed, value_set=known)))
    bare = pyarrow.compute.utf8_trim_whitespace(unknown)
    others = pyarrow.concat_arrays([known, listed])
    meant = pyarrow.compute.is_in(bare, value_set=others)
    wrong = unknown.filter(pyarrow.compute.and_(pyarrow.compute.not_equal(bare, unknown), meant)).to_pylist()
    if wrong:
        raise InputError(f"{where}: the id {wrong[0]!r} has spaces around it; write {wrong[0].strip()!r}")
