"""The files of a ranking by a language model.

- ``rankings.parquet``, a row for each user, ranker and order of the candidates: ``user`` and ``target`` int32;
  ``candidates`` int32, how many were ranked; ``ranker`` string: ``base`` (the language model as it came),
  ``finetuned``, ``aligned``, ``winners`` (trained on the winners again, without a preference), any of these three
  with ``+retriever``, whose scores are added to its own, or of the baselines ``retriever`` and ``most-popular``;
  ``order`` string: ``retriever`` or ``shuffled``, in which the language model saw the candidates (the baselines see
  none, ``retriever``; a ranker of items neither, both); ``rank`` int32 of the target among them (1 = best, ties count
  against it); ``first`` int32, the place of the candidate ranked best, from 0 (-1 for baselines). Only users whose
  target is among the candidates have rows. The metadata carries the data set's name and fingerprint.
- ``ranking.json``: what was ranked (:class:`RankingSummary`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy
import pyarrow

from ssm4rec.artifacts.codec import Amount, Count, Document, Positive, Share, read_table, required, text_of, write_table
from ssm4rec.artifacts.dataset import DATASET_KEY, FINGERPRINT_KEY, Int32s
from ssm4rec.artifacts.ranker import RankerKind, TrainingFigures
from ssm4rec.runtime.errors import InputError

BASE: Final = "base"
FINETUNED: Final = "finetuned"
ALIGNED: Final = "aligned"
WINNERS: Final = "winners"
"""The control of an alignment: the same pairs, without ORPO's preference term."""
BLENDED: Final = {FINETUNED: "finetuned+retriever", ALIGNED: "aligned+retriever", WINNERS: "winners+retriever"}
"""A trained ranker's scores and its retriever's, summed (``llm/blending.py``)."""
RETRIEVER: Final = "retriever"
RANDOM: Final = "random"

_RANKINGS: Final = pyarrow.schema(
    [*required(pyarrow.int32(), "user", "rank"), *required(pyarrow.string(), "ranker", "order")]
)
"""What is read of the columns."""

RETRIEVER_ORDER: Final = "retriever"
SHUFFLED_ORDER: Final = "shuffled"
ORDERS: Final = (RETRIEVER_ORDER, SHUFFLED_ORDER)
"""LlamaRec shows the candidates in the retriever's order; shuffled, a preference for a letter helps nobody."""

AMONG_CANDIDATES: Final = "among candidates"
ALL_USERS: Final = "all users"
POPULATIONS: Final = (AMONG_CANDIDATES, ALL_USERS)
"""LlamaRec's two ways to count: users whose target the retriever found, or all, the rest counted as missed."""


@dataclass(frozen=True)
class Ranking:
    """One ranker's columns ``rank`` and ``first`` of n users, each (n,)."""

    ranker: str
    order: str
    ranks: Int32s
    first: Int32s


@dataclass(frozen=True)
class RankingRow:
    """One number of a ranking: a mean over users and its standard error."""

    ranker: str
    order: str
    population: str
    metric: str
    value: Share
    standard_error: Amount


@dataclass(frozen=True)
class RankingSummary(Document, what="the ranking.json of a ranker", made_by="rank_candidates"):
    """ranking.json as an object.

    Attributes:
        stage: that trained the adapter, finetune_llm or align_llm; ``seed``, ``profile``, ``recipe`` and ``training``
            are of the same.
        retriever: whose candidates they are, model and seed.
        ranker, retriever_weight, winners_alone: as ``ranker.json`` has them.
        users, found, ranked: of the split; of these, those whose target is among the candidates; of these, those that
            the language model ranked (a sample, or all).
        first_places: for each ranker and order, how often the candidate in each place was ranked best.
    """

    dataset: str
    fingerprint: str
    seed: Count
    profile: str
    split: str
    source: str
    stage: str
    retriever: str
    users: Positive
    found: Positive
    ranked: Positive
    candidates: Positive
    rows: tuple[RankingRow, ...]
    first_places: dict[str, list[Count]]
    prompts_per_second: Amount
    tokens_per_second: Amount
    cpu_seconds_per_prompt: Amount
    prompt_tokens: Amount
    device: str
    recipe: dict[str, Any]
    training: TrainingFigures
    ranker: RankerKind = "letters"
    retriever_weight: Amount | None = None
    winners_alone: bool = False

    @property
    def state(self) -> str:
        """What the language model was trained for: ``FINETUNED``, ``ALIGNED`` or ``WINNERS``."""
        return trained_state(self.stage, self.winners_alone)


def trained_state(stage: str, winners_alone: bool) -> str:
    """Return what a ranker is called in rankings, by the stage that trained it."""
    if stage != "align_llm":
        return FINETUNED
    return WINNERS if winners_alone else ALIGNED


def write_rankings(
    path: Path, metadata: dict[bytes, bytes], users: Int32s, targets: Int32s, sizes: Int32s, rankings: Sequence[Ranking]
) -> None:
    """Write rankings.parquet, with the metadata of its data set."""
    table = pyarrow.concat_tables(
        pyarrow.table(
            {
                "user": users.astype(numpy.int32),
                "target": targets.astype(numpy.int32),
                "candidates": sizes.astype(numpy.int32),
                "ranker": [one.ranker] * len(users),
                "order": [one.order] * len(users),
                "rank": one.ranks.astype(numpy.int32),
                "first": one.first.astype(numpy.int32),
            }
        )
        for one in rankings
    )
    write_table(path, table.replace_schema_metadata(metadata))


def read_rankings(path: Path, fingerprint: str) -> dict[tuple[str, str], tuple[Int32s, Int32s]]:
    """Return users and ranks for each (ranker, order); raise InputError if the file is none of this data set."""
    table = read_table(path, _RANKINGS, "the rankings of a language model", "rank_candidates")
    columns = {name: table.column(name).to_numpy() for name in _RANKINGS.names}
    metadata = table.schema.metadata
    if text_of(metadata, FINGERPRINT_KEY) != fingerprint:
        name = text_of(metadata, DATASET_KEY) or "?"
        raise InputError(f"{path}: rankings of another data set ({name}); give those of the data set reported on")
    if columns["user"].min() < 0 or columns["rank"].min() < 1:
        raise InputError(f"{path}: users or ranks are below 0 or 1; run rank_candidates again")
    found = {}
    for ranker, order in sorted(set(zip(columns["ranker"], columns["order"], strict=True))):
        rows = (columns["ranker"] == ranker) & (columns["order"] == order)
        users = columns["user"][rows]
        if len(numpy.unique(users)) < len(users):
            raise InputError(f"{path}: a user stands there twice ({ranker}, {order}); run rank_candidates again")
        found[str(ranker), str(order)] = (users, columns["rank"][rows])
    return found
