"""Ids that are spelled in two ways: they are one id, and would be two users or items."""

from collections.abc import Iterable
from typing import NamedTuple

import polars

from ssm4rec.data.streams import excerpt
from ssm4rec.runtime.errors import InputError


class Respelled(NamedTuple):
    """Two ids that are one: their ``plain`` spelling, and what they are."""

    plain: str
    one: str
    other: str


def plain_ids(ids: polars.Series) -> polars.Series:
    """Return ids such that two spellings of one are equal: without white space around them, and 7 for 7.0.

    >>> plain_ids(polars.Series(["7", " 7.0", "7.5"])).to_list()
    ['7', '7', '7.5']
    """
    return ids.str.strip_chars().str.replace(r"^(-?\d+)\.0+$", "$1")


def respelled(ids: polars.Series) -> Respelled | None:
    """Return the first two of different ids that are one, in the order of their plain spelling; None if all differ."""
    id_, plain = polars.col("id"), polars.col("plain")
    frame = polars.DataFrame({"id": ids, "plain": plain_ids(ids)})
    changed = frame.filter(id_ != plain)
    # Few or none: the others are only looked up.
    both = polars.concat([changed, frame.filter(id_ == plain).join(changed.select("plain"), on="plain", how="semi")])
    twice = both.filter(plain.is_duplicated()).sort("plain", "id")
    return Respelled(twice["plain"][0], twice["id"][0], twice["id"][1]) if twice.height else None


def check_spelling(found: Iterable[Respelled | None], column: str) -> None:
    """Raise InputError if two ids of a column are one; it names the first of those found."""
    if pairs := [pair for pair in found if pair is not None]:
        _, one, other = min(pairs)
        raise InputError(
            f"column {column}: {excerpt(repr(one))} and {excerpt(repr(other))} would be two ids; "
            "spell each id the same way everywhere"
        )
