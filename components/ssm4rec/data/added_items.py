"""Items that came to a catalog after its data were prepared."""

from pathlib import Path
from typing import Final

import pyarrow

from ssm4rec.artifacts.items import Items
from ssm4rec.data.id_list import check_spaces, read_columns
from ssm4rec.data.locations import split_addresses
from ssm4rec.runtime.errors import InputError

_FLAG: Final = "--added-items"


def with_added(catalog: Items, address: str) -> Items:
    """Return a catalog followed by the items of files that it lacks.

    Those without a title are not added; of several titles the first counts. Items of the catalog that have none get
    theirs. The files are addresses separated by commas, with the columns ``item_id`` and ``title``. Raise InputError if
    one cannot be had or read, an id is missing or has spaces around it that another one lacks, or no item has a title.
    """
    titles: dict[str, str] = {}
    for file in split_addresses(address):
        for frame in read_columns(file, ["item_id", "title"], _FLAG):
            for item_id, title in frame.iter_rows():
                if title and title.strip():
                    titles.setdefault(item_id, title)
    if not titles:
        raise InputError(f"{_FLAG} {address}: no item with a title; leave it out, or list some")
    text = pyarrow.large_string()
    check_spaces(pyarrow.array(titles, text), pyarrow.array(catalog.ids, text), f"{_FLAG} {address}")
    return catalog.joined(Items(Path(address), [*titles], [*titles.values()], [None] * len(titles)))
