"""A file that lists ids: the users who are recommended something, the items that may be."""

import polars
import pyarrow

from ssm4rec.data.bad_rows import DROP_INSTEAD, BadRows
from ssm4rec.data.delimited import ColumnError
from ssm4rec.data.download import fetch
from ssm4rec.data.locations import FORMATS, format_of_name, local_path
from ssm4rec.data.readers import read_batches
from ssm4rec.data.streams import TextForm
from ssm4rec.data.values import read_ids
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import cache_folder


def read_id_list(address: str, column: str, flag: str) -> pyarrow.LargeStringArray:
    """Return the ids in a column of a file of CSV, JSONL or Parquet, each once, in the order of the file.

    They are read as those of events: 7 and 7.0 are the id "7". ``flag`` gave the address; it stands in messages. Raise
    InputError if the file cannot be had or read, lacks the column or an id, or lists none.
    """
    if (path := local_path(address)) and not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise InputError(f"{flag} {address}: {what}; give one file, with the column {column}")
    kind = format_of_name(address)
    if kind is None:
        raise InputError(f"{flag} {address}: the name does not tell the format; call it .{', .'.join(FORMATS)}")
    file, bad_rows = fetch(address, cache_folder("")), BadRows()
    found, row = [], 1
    try:
        for batch in read_batches(file.path, kind, [column], [column], TextForm(), bad_rows):
            ids, problems = read_ids(batch.column(column), column, "id")
            bad_rows.good(problems, batch.num_rows, str(file.path), row)
            found.append(ids.cast(polars.String))
            row += batch.num_rows
    except ColumnError as error:
        raise InputError(f"{flag} {error}; rename the column of the ids to {column}") from None
    except InputError as error:
        raise InputError(f"{flag} {str(error).removesuffix(DROP_INSTEAD)}") from None
    listed = polars.concat(found).unique(maintain_order=True) if found else polars.Series(dtype=polars.String)
    if not len(listed):
        raise InputError(f"{flag} {address}: lists no id; leave the flag out, or list some")
    return listed.to_arrow().cast(pyarrow.large_string())
