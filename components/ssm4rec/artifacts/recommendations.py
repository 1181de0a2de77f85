"""The folder of recommendations, which ``recommend_all`` writes: every user's best items.

- ``part-00000.parquet``, ``part-00001.parquet``, ...: a shard each, of consecutive users. One row per recommendation, a
  user's rows together, best first: ``user_id`` and ``item_id`` string, the source's; ``rank`` int32, from 1; ``score``
  float32, the model's logit, comparable within a user only, null where a user without a history got the most popular.
- ``_manifest.json``: what they were made from and how much there is, :class:`RecommendationsManifest`. Arrow and Spark
  read the folder as one table: they pass over names that begin with ``_`` or ``.``.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final

import numpy
import pyarrow
from numpy.typing import NDArray

from ssm4rec.artifacts.codec import Count, Document, Positive, required
from ssm4rec.artifacts.dataset import Flags

RECOMMENDATIONS_MANIFEST: Final = "_manifest.json"

_TEXT: Final = pyarrow.large_string()  # of a shard's ids together there may be more than 2 GiB
SCHEMA: Final = pyarrow.schema(
    [
        *required(_TEXT, "user_id", "item_id"),
        *required(pyarrow.int32(), "rank"),
        pyarrow.field("score", pyarrow.float32()),
    ]
)


@dataclass(frozen=True)
class RecommendationsOrigin:
    """What decides every byte of a folder of recommendations.

    Attributes:
        dataset, fingerprint: of the dataset folder, whose events are the histories.
        model, seed: of the recommender.
        weights, users, items, allowed: SHA-256 of the model's weights, of the ids of all users, of those of the catalog
            and of those that may be recommended, empty: all.
        words: digest of what the items are called, empty for a model of ids alone.
        k: how many items each user gets.
        masked: whether the items of a user's history are left out.
        users_per_shard: in every shard but the last.
    """

    dataset: str
    fingerprint: str
    model: str
    seed: int
    weights: str
    users: str
    items: str
    words: str
    allowed: str
    k: Positive
    masked: bool
    users_per_shard: Positive

    @property
    def folder_name(self) -> str:
        """The name of the folder of finished shards: of this origin and no other."""
        digest = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()
        return f"recommend-{self.model}-seed{self.seed}-{digest[:16]}"


@dataclass(frozen=True)
class Shard:
    """A file of the folder, with all recommendations of ``users`` consecutive users."""

    file: str
    users: Positive
    recommendations: Count


@dataclass(frozen=True)
class RecommendationsManifest(Document, what="the manifest of recommendations", made_by="recommend_all"):
    """``_manifest.json``.

    Attributes:
        origin: what the recommendations were made from.
        users: all of them.
        users_by_popularity: those of them without a history, who got the most popular items.
        users_with_fewer: those of them who got less than k items, or none.
        recommendations: rows of all shards.
        shards: the files, in the order of the users.
    """

    origin: RecommendationsOrigin
    users: Positive
    users_by_popularity: Count
    users_with_fewer: Count
    recommendations: Count
    shards: tuple[Shard, ...]


def recommendation_table(
    user_ids: pyarrow.Array,
    item_ids: pyarrow.Array,
    items: NDArray[numpy.int64],
    scores: NDArray[numpy.float32],
    by_model: Flags,
) -> pyarrow.Table:
    """Return the rows of n users.

    Args:
        user_ids: (n,).
        item_ids: of items 1..V, (V,).
        items: best first, 0 behind the last of a shorter list, (n, K).
        scores: of these, (n, K).
        by_model: whose items are the model's, (n,): others have no scores.
    """
    present = items > 0
    users, places = numpy.nonzero(present)
    scored = pyarrow.array(scores[present], mask=~by_model[users])
    columns = [
        user_ids.take(pyarrow.array(users)),
        item_ids.take(pyarrow.array(items[present] - 1)),
        pyarrow.array((places + 1).astype(numpy.int32)),
        scored,
    ]
    return pyarrow.table(columns, schema=SCHEMA)
