"""The files an evaluation writes.

- ``ranks.parquet``, a row a user of the split: ``user`` int32, ``target`` int32, ``history_length`` int32,
  ``rank_unmasked`` and ``rank_masked`` int32 (1 = best), and the most-popular baseline's ranks of the same target:
  ``most_popular_rank_unmasked`` and ``most_popular_rank_masked``.
- ``candidates.parquet``, a row a user of the split: ``user`` int32, ``items`` list<int32>, the best K = 20 items with
  the history masked, best first, and their ``scores`` list<float32>. What an LLM ranker re-orders.
- ``metrics.json``::

    {"dataset": "ml-100k", "fingerprint": "…", "model": "sasrec", "seed": 0, "profile": "quick", "split": "test",
     "users": 943, "items": 1349,
     "parameters": 341234, "parameters_without_embeddings": 99968,
     "training": {"epochs": 20, "best_epoch": 17, "stopped": "epochs" | "patience",
                  "validation_ndcg@10": 0.09, "cpu_seconds": 123.4, "device": "cpu"},
     "recipe": {"model": {…}, "training": {…}},
     "rows": [{"dataset": "ml-100k", "model": "sasrec", "seed": 0, "split": "test", "protocol": "unmasked",
               "metric": "hit@10", "value": 0.1}, …]}

  ``rows`` holds model and baseline (``"model": "most-popular", "seed": null``: it has no chance in it) in both
  protocols, every metric at every cutoff.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet

from ssm4rec.errors import InputError
from ssm4rec.evaluation.full_ranking import FullRanking
from ssm4rec.files import read_json, whole_file, write_json


@dataclass(frozen=True)
class ResultRow:
    """One number of a study; the report's results.json is a list of these."""

    dataset: str
    model: str
    seed: int | None
    split: str
    protocol: str
    metric: str
    value: float


@dataclass(frozen=True)
class EvaluationSummary:
    """Everything the report needs to know of one evaluated model: metrics.json as an object."""

    dataset: str
    fingerprint: str
    model: str
    seed: int
    profile: str
    split: str
    users: int
    items: int
    parameters: int
    parameters_without_embeddings: int
    training: dict[str, Any]
    recipe: dict[str, Any]
    rows: tuple[ResultRow, ...]

    def write(self, path: Path) -> None:
        """Write metrics.json."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "EvaluationSummary":
        """Read metrics.json; raise InputError if it is not one."""
        document = read_json(path)
        try:
            rows = tuple(ResultRow(**row) for row in document.pop("rows"))
            return cls(**document, rows=rows)
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not the metrics.json of an evaluation ({error}); run evaluate again") from None


def write_ranks(path: Path, model: FullRanking, most_popular: FullRanking) -> None:
    """Write ranks.parquet: the ranks of the model and of the baseline, user by user."""
    columns = {
        "user": model.users,
        "target": model.targets,
        "history_length": model.history_lengths,
        "rank_unmasked": model.unmasked,
        "rank_masked": model.masked,
        "most_popular_rank_unmasked": most_popular.unmasked,
        "most_popular_rank_masked": most_popular.masked,
    }
    with whole_file(path) as partial:
        table = pyarrow.table({name: values.astype(numpy.int32) for name, values in columns.items()})
        pyarrow.parquet.write_table(table, partial)


def write_candidates(path: Path, ranking: FullRanking) -> None:
    """Write candidates.parquet; a user who has had nearly all items gets fewer than K candidates."""
    present = numpy.isfinite(ranking.candidate_scores)
    offsets = pyarrow.array(numpy.concatenate([[0], present.sum(axis=1).cumsum()]).astype(numpy.int32))
    lists = {
        "items": pyarrow.array(ranking.candidates[present].astype(numpy.int32)),
        "scores": pyarrow.array(ranking.candidate_scores[present]),
    }
    columns = {name: pyarrow.ListArray.from_arrays(offsets, values) for name, values in lists.items()}
    with whole_file(path) as partial:
        users = pyarrow.array(ranking.users.astype(numpy.int32))
        pyarrow.parquet.write_table(pyarrow.table({"user": users, **columns}), partial)
