"""Compares models that read histories of at most L items, for several L: what does a longer window buy, and whom?

Every training is evaluated on the same users and targets. A model at one window counts as a model of its own
(``label``), so that ``compare.py`` makes means, intervals, tests and parts; here is what is particular to windows. A
user is cut by a window if the history before the target is longer: those users alone lose something they had.

Shapes: T targets, U users, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy

from ssm4rec.artifacts.comparison import Comparison
from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.estimate import Difference
from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.names import PROTOCOLS, metric_name
from ssm4rec.artifacts.ranks import Ranks
from ssm4rec.evaluation.compare import CUTOFF, Evaluations, compare, gather
from ssm4rec.evaluation.metrics import metric_at
from ssm4rec.evaluation.statistics import bootstrap_means, by_user, difference_over_users, holm
from ssm4rec.runtime.errors import InputError

METRIC: Final = "ndcg"
NAME: Final = metric_name(METRIC, CUTOFF)


@dataclass(frozen=True)
class WindowPair:
    """A difference in NDCG@10: a model with a shorter window - with its longest one, or a model - SASRec at one window.

    Attributes:
        model, window: its name, and L.
        other, other_window: what is subtracted.
        all_users: the difference; its p-value is corrected for all pairs of the same kind and protocol.
        cut_users: whose history is longer than the shorter of the two windows.
        of_cut_users: the difference for those; None with fewer than two, or at one window.
    """

    model: str
    window: int
    other: str
    other_window: int
    protocol: str
    all_users: Difference
    cut_users: int
    of_cut_users: Difference | None


@dataclass(frozen=True)
class WindowComparison:
    """What a sweep over windows says.

    Attributes:
        windows: every model's, ascending; models in the order of their names.
        to_longest: each model at each window except its longest - the model at its longest.
        to_baseline: each model - the baseline, at each window that both have.
    """

    windows: dict[str, tuple[int, ...]]
    comparison: Comparison
    to_longest: tuple[WindowPair, ...]
    to_baseline: tuple[WindowPair, ...]


def label(model: str, window: int) -> str:
    """Return what a model is called when it reads ``window`` items.

    >>> label("sasrec", 50)
    'sasrec, 50 items'
    """
    return f"{model}, {window} items"


def window_of(evaluation: EvaluationSummary) -> int:
    """Return how many items of a history the evaluated model read at most."""
    return int(evaluation.recipe["model"]["max_length"])


def check_ranks(evaluation: EvaluationSummary, ranks: Ranks) -> None:
    """Raise InputError unless ranks are those of an evaluation: its model, seed and split, and its numbers."""
    expected = {row.protocol: row.value for row in evaluation.rows if (row.model, row.metric) == (ranks.model, NAME)}
    found = {protocol: metric_at(METRIC, ranks.of(protocol), CUTOFF) for protocol in PROTOCOLS}
    same = (evaluation.model, evaluation.seed, evaluation.split) == (ranks.model, ranks.seed, ranks.split)
    if not same or not all(numpy.isclose(value, expected.get(name, -1.0)) for name, value in found.items()):
        raise InputError(
            f"the ranks given for {label(evaluation.model, window_of(evaluation))}, seed {evaluation.seed}, are not "
            "those of its metrics.json; give ranks and evaluations in the same order"
        )


def compare_windows(
    dataset: SequenceDataset, evaluated: Sequence[tuple[str, int, Ranks]], baseline: str, resamples: int, seed: int
) -> WindowComparison:
    """Compare models at several windows, with one another and with the baseline.

    ``evaluated`` has name, window and ranks of every training; several seeds of a model and window are averaged.
    Raise InputError for ranks that do not belong together, or if no model has two windows.
    """
    evaluations = gather((replace(ranks, model=label(name, window)) for name, window, ranks in evaluated), [])
    windows = {
        model: tuple(sorted({window for name, window, _ in evaluated if name == model}))
        for model in sorted({name for name, _, _ in evaluated})
    }
    if all(len(own) < 2 for own in windows.values()):
        raise InputError("no model was evaluated with two windows: there is nothing to compare; name more (--lengths)")
    comparison = compare(dataset, evaluations, resamples, seed)
    rng = numpy.random.default_rng([seed, 1])
    shorter = [(model, window, model, own[-1]) for model, own in windows.items() for window in own[:-1]]
    rivals = [
        (model, window, baseline, window)
        for model, own in windows.items()
        if model != baseline
        for window in own
        if window in windows.get(baseline, ())
    ]
    return WindowComparison(
        windows,
        comparison,
        _pairs(comparison, evaluations, shorter, resamples, rng),
        _pairs(comparison, evaluations, rivals, resamples, rng),
    )


def _pairs(
    comparison: Comparison,
    evaluations: Evaluations,
    wanted: Sequence[tuple[str, int, str, int]],
    resamples: int,
    rng: numpy.random.Generator,
) -> tuple[WindowPair, ...]:
    """Return the wanted pairs (model, window, other, its window), corrected for their number."""
    found = {}
    for row in comparison.pairs:
        if row.metric == NAME:
            found[row.first, row.second, row.protocol] = row.difference, row.permutation_p
            found[row.second, row.first, row.protocol] = row.difference.reversed(), row.permutation_p
    lengths = evaluations.any_ranks.history_lengths
    pairs: list[WindowPair] = []
    for protocol in PROTOCOLS:
        labels = [(label(model, window), label(other, its)) for model, window, other, its in wanted]
        tested = [found[*two, protocol] for two in labels]
        corrected = holm([p for _, p in tested])
        for names, two, (difference, _), p_holm in zip(wanted, labels, tested, corrected, strict=True):
            _, window, _, other_window = names
            cut = lengths > min(window, other_window)
            ours, theirs = (evaluations.mean_gains(one, protocol, METRIC)[cut] for one in two)
            sums, targets = by_user(ours - theirs, evaluations.any_ranks.users[cut])
            of_cut = None
            if window != other_window and len(targets) > 1:
                drawn = bootstrap_means(sums[:, None], resamples, rng, targets)[:, 0]
                of_cut = difference_over_users(sums, targets, drawn)
            pairs.append(WindowPair(*names, protocol, replace(difference, p_holm=p_holm), len(targets), of_cut))
    return tuple(pairs)
