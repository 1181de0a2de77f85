"""Items that came to a catalog after its data were prepared."""

from pathlib import Path

import polars

from ssm4rec.artifacts.items import read_items
from ssm4rec.artifacts.names import ITEMS
from ssm4rec.data.events import read_titles
from ssm4rec.data.source import SourceOptions
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import cache_folder


def add_items(dataset: Path, folder: Path, address: str) -> int:
    """Write ``items.parquet`` of a dataset folder, with the items of files added to it, into a folder; return how many.

    Items that are there, and those without a title, are not added; of several titles the first counts. The files are
    addresses separated by commas, with the columns ``item_id`` and ``title``. Raise InputError if one cannot be had or
    read, or there is nothing to add.
    """
    read_items(dataset)  # checks it
    known = polars.read_parquet(dataset / ITEMS)
    titled = polars.col("title").str.strip_chars() != ""
    told = SourceOptions("events", cache_folder(""), items_source=address)
    frames = [frame.filter(titled) for frame in read_titles(told)]
    listed = polars.concat(frames or [known.select("item_id", "title").clear()]).unique("item_id", maintain_order=True)
    added = listed.join(known, on="item_id", how="anti", maintain_order="left")
    if not added.height:
        raise InputError(f"--added-items {address}: no item with a title that {dataset / ITEMS} lacks; leave it out")
    numbers = polars.int_range(known.height + 1, known.height + added.height + 1, dtype=polars.Int32, eager=True)
    rows = added.select("item_id", "title").with_columns(numbers.alias("item"))
    polars.concat([known, rows], how="diagonal").write_parquet(folder / ITEMS)
    return added.height
