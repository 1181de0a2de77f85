"""Recommendations for all users, a shard at a time: each file appears whole, and a resumed run makes those missing.

Shapes: U users of the data set, n users of a shard or all who are recommended something, V items, K recommendations.
"""

import hashlib
import logging
import os
import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from ssm4rec.artifacts.codec import write_table
from ssm4rec.artifacts.dataset import Int64s, SequenceDataset
from ssm4rec.artifacts.recommendations import (
    RECOMMENDATIONS_MANIFEST,
    RecommendationsManifest,
    RecommendationsOrigin,
    Shard,
    recommendation_table,
)
from ssm4rec.evaluation.best_lists import Histories, best_lists
from ssm4rec.models.recommender import Recommender
from ssm4rec.runtime.errors import InputError, reason
from ssm4rec.runtime.files import whole_folder
from ssm4rec.runtime.ray_workers import in_parts
from ssm4rec.training.device import choose_device

logger = logging.getLogger(__name__)

STAGE: Final = "recommend_all"


@dataclass(frozen=True)
class Wanted:
    """Who is recommended what.

    Attributes:
        dataset: whose sequences, whole, are the users' histories.
        user_ids: the source's ids of the n users, in the order of the rows to write.
        rows: which user of the data set each of them is, -1: none, (n,).
        item_ids: the source's ids of items 1..V, which begin with those of ``dataset``.
        allowed: items that may be recommended, ascending; None: all.
        count: K.
        masked: leave out the items of a user's history.
    """

    dataset: SequenceDataset
    user_ids: pyarrow.Array
    rows: Int64s
    item_ids: pyarrow.Array
    allowed: Int64s | None
    count: int
    masked: bool

    @property
    def by_popularity(self) -> int:
        """The number of users without a history."""
        return int((self.rows < 0).sum())

    @cached_property
    def most_popular(self) -> Int64s:
        """The allowed items with the most events, as many as a list has; of equal ones the first by number."""
        item_count = len(self.item_ids)
        items = numpy.arange(1, item_count + 1) if self.allowed is None else self.allowed
        counts = numpy.zeros(item_count + 1, dtype=numpy.int64)
        for part in self.dataset.parts():
            counts += numpy.bincount(part.items, minlength=len(counts))
        return items[numpy.argsort(-counts[items], kind="stable")[: self.count]]

    def table(self, model: Recommender, start: int, stop: int) -> pyarrow.Table:
        """Return the recommendations of users ``start`` to ``stop``; a model of all V items."""
        rows = self.rows[start:stop]
        known = rows >= 0
        items = numpy.tile(self.most_popular, (len(rows), 1))
        scores = numpy.zeros(items.shape, dtype=numpy.float32)
        if known.any():
            starts, stops = self.dataset.offsets[rows[known]], self.dataset.offsets[rows[known] + 1]
            histories = Histories(self.dataset.items, starts, stops - starts)
            items[known], scores[known] = best_lists(
                model, histories, self.count, masked=self.masked, allowed=self.allowed
            )
        return recommendation_table(self.user_ids[start:stop], self.item_ids, items, scores, known)


class _Part(NamedTuple):
    file: str
    start: int
    stop: int


@dataclass(frozen=True)
class _Writer:
    """Writes parts into a folder."""

    folder: Path
    wanted: Wanted
    model: Recommender
    device: str

    def __call__(self, part: _Part) -> None:
        """Write a part, whole or not at all."""
        table = self.wanted.table(self.model.to(choose_device(self.device)), part.start, part.stop)
        write_table(self.folder / part.file, table)


def write_shards(
    folder: Path,
    wanted: Wanted,
    users_per_shard: int,
    model: Recommender,
    device: str,
    workers: int,
) -> None:
    """Write the shards that a folder lacks, one of these recommendations alone; by several ``workers`` on Ray.

    Args:
        device: where each process computes, cpu or cuda.
        workers: see ``in_parts``.

    Raises:
        InputError: Ray does not answer, or a process has no such device.
    """
    parts = _parts(len(wanted.rows), users_per_shard)
    missing = [part for part in parts if not _finished(folder / part.file)]
    if len(missing) < len(parts):
        logger.info("resumed: %d of %d shards are there", len(parts) - len(missing), len(parts))
    write = _Writer(folder.absolute(), wanted, model, device)
    started, done = time.monotonic(), 0
    for part, _ in in_parts(write, missing, workers, device):
        done += part.stop - part.start
        left = sum(one.stop - one.start for one in missing) - done
        rate = done / (time.monotonic() - started)
        logger.info("%s: %s users per second, %s users to go", part.file, f"{rate:,.0f}", f"{left:,}")


def publish(folder: Path, target: Path, origin: RecommendationsOrigin, wanted: Wanted) -> RecommendationsManifest:
    """Make the target folder of all shards, whole or not at all, and return its manifest.

    Files are linked where both folders are on one file system: they take no more of the disk.
    """
    parts = _parts(len(wanted.rows), origin.users_per_shard)
    shards, full = [], 0
    with whole_folder(target, STAGE) as partial:
        for part in parts:
            ranks = _ranks(folder / part.file)
            full += int((ranks == origin.k).sum())
            shards.append(Shard(part.file, part.stop - part.start, len(ranks)))
            try:
                os.link(folder / part.file, partial / part.file)
            except OSError:  # another file system, or one without links
                shutil.copyfile(folder / part.file, partial / part.file)
        manifest = RecommendationsManifest(
            origin=origin,
            users=len(wanted.rows),
            users_by_popularity=wanted.by_popularity,
            users_with_fewer=len(wanted.rows) - full,
            recommendations=sum(shard.recommendations for shard in shards),
            shards=tuple(shards),
        )
        manifest.write(partial / RECOMMENDATIONS_MANIFEST)
    return manifest


def digest_of_ids(ids: pyarrow.Array) -> str:
    """Return the SHA-256 of texts, of their lengths and bytes."""
    digest = hashlib.sha256(pyarrow.compute.binary_length(ids).to_numpy().tobytes())
    digest.update(ids.cast(pyarrow.large_binary()).buffers()[2] or b"")
    return digest.hexdigest()


def _parts(users: int, users_per_shard: int) -> list[_Part]:
    starts = range(0, users, users_per_shard)
    return [
        _Part(f"part-{number:05}.parquet", start, min(users, start + users_per_shard))
        for number, start in enumerate(starts)
    ]


def _finished(path: Path) -> bool:
    """Tell whether a shard is there; one that lost its end, as at a power cut, is written again."""
    try:
        pyarrow.parquet.read_metadata(path)
    except FileNotFoundError:
        return False
    except (pyarrow.ArrowException, OSError) as error:
        logger.warning("%s: not a readable shard (%s); it is written again", path, reason(error))
        return False
    return True


def _ranks(path: Path) -> Int64s:
    """Return the column ``rank`` of a shard; raise InputError if it is damaged."""
    try:
        ranks: Int64s = pyarrow.parquet.read_table(path, columns=["rank"]).column("rank").to_numpy()
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: not a readable shard ({reason(error)}); delete it, and run the command again"
        ) from None
    return ranks
