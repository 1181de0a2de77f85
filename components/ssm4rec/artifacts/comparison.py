"""comparison.json: what the evaluations of a study's models say about each other.

- ``models``, ``pairs`` and ``slices`` hold HIT, NDCG and MRR at 10 in both protocols. The baselines are
  among the models; they have no seeds: ``[]`` and null. Of the baselines, only ``most-popular`` is in ``pairs``.
- A model of several seeds has, for each target, the mean gain over its seeds. ``mean`` is over the targets, with a
  bootstrap interval over users, each drawn with all their targets; ``over_seeds`` is over the values of the seeds
  (Student's t), null with fewer than two.
- ``difference`` is ``first`` - ``second``, with its paired bootstrap interval over users; p-values are two-sided;
  ``…p_holm`` are corrected for all pairs of the same protocol and metric, that of ``difference`` is the permutation
  test's. ``mde`` is what a test of this pair at 5%, uncorrected, would find with a chance of 80%. See
  ``statistics.py``.
- ``slices``: ``by`` is ``history_length`` (quarters of the targets, named by their bounds) or ``target_popularity``
  (``head``, the 20% of items with the most training interactions, and ``tail``). ``standard_error`` is over the
  users, null for a single one. See ``slices.py``.
- ``notes``: sentences on what else the evaluations differ in.
- ``recommendations``: of the ten best items that each user is given, in both protocols: served are unmasked ones. See
  ``beyond_accuracy.py``. The baselines of ``names.LISTED_BASELINES`` are among them, without a seed: null.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Self

from ssm4rec.artifacts.codec import Count, Document, Number, Positive, Share
from ssm4rec.artifacts.estimate import Estimate, ShareEstimate, TestedDifference
from ssm4rec.artifacts.names import MASKED, METRICS, PROTOCOLS, metric_name
from ssm4rec.runtime.errors import InputError


@dataclass(frozen=True)
class ModelRow:
    """A model's mean of a metric, with its interval over users and its spread over seeds."""

    model: str
    protocol: str
    metric: str
    mean: ShareEstimate
    seeds: list[Count]
    seed_values: list[Share]
    seed_deviation: Number | None
    over_seeds: Estimate | None


@dataclass(frozen=True)
class PairRow:
    """The difference of two models in a metric."""

    first: str
    second: str
    protocol: str
    metric: str
    difference: TestedDifference
    bootstrap_p: Share
    bootstrap_p_holm: Share
    permutation_p: Share


@dataclass(frozen=True)
class SliceRow:
    """A model's mean of a metric over a part of the targets."""

    model: str
    protocol: str
    metric: str
    by: str
    part: str
    targets: Count
    mean: Share
    standard_error: Number | None


@dataclass(frozen=True)
class RecommendationsRow:
    """What a training's lists, or a baseline's, are worth besides their accuracy."""

    model: str
    seed: Count | None
    users: Count
    cutoff: Positive
    coverage: Share
    gini: Share
    novelty: Estimate
    serendipity: ShareEstimate
    diversity: ShareEstimate
    debiased_ndcg: ShareEstimate
    protocol: str = MASKED  # of files of earlier versions

    def numbers(self) -> dict[str, float]:
        """Return the values by their names in results.json and MLflow, such as ``novelty@10``."""
        found = {name: getattr(self, name) for name in ("coverage", "gini")}
        found |= {name: getattr(self, name).value for name in ("novelty", "serendipity", "diversity", "debiased_ndcg")}
        return {metric_name(name, self.cutoff): value for name, value in found.items()}


@dataclass(frozen=True)
class Comparison(Document, what="a comparison.json", made_by="compare_models"):
    """comparison.json as an object; ``compare.py`` makes one."""

    dataset: str
    fingerprint: str
    split: str
    users: Count
    targets: Count
    items: Positive
    resamples: Count
    confidence: Share
    power: Share
    models: tuple[ModelRow, ...]
    pairs: tuple[PairRow, ...]
    slices: tuple[SliceRow, ...]
    recommendations: tuple[RecommendationsRow, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read comparison.json; raise InputError if it is not one, or lacks a row."""
        found = super().read(path)
        models = {row.model for row in found.models}
        pairs = {(row.first, row.second) for row in found.pairs}
        parts = {(row.by, row.part, model) for row in found.slices for model in models}
        _check_complete(path, "models", found.models, ("model",), {(model,) for model in models})
        _check_complete(path, "slices", found.slices, ("by", "part", "model"), parts)
        if {tuple(sorted(pair)) for pair in pairs} != set(combinations(sorted({*chain(*pairs)}), 2)):
            raise InputError(f"{path}: lacks a pair of its models; run compare_models again")
        _check_complete(path, "pairs", found.pairs, ("first", "second"), pairs)
        return found


def _check_complete(
    path: Path, content: str, rows: Iterable[object], key: Sequence[str], expected: Iterable[tuple[str, ...]]
) -> None:
    """Raise InputError unless there is a row for every expected key and each metric in both protocols."""
    found = {tuple(getattr(row, name) for name in (*key, "protocol", "metric")) for row in rows}
    settings = {(protocol, metric_name(metric, 10)) for protocol in PROTOCOLS for metric in METRICS}
    missing = {(*one, *setting) for one in expected for setting in settings} - found
    if missing:
        raise InputError(f"{path}: {content} lack {', '.join(min(missing))}; run compare_models again")
