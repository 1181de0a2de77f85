"""Compares the evaluated models of a study: from their ranks and candidates to a ``Comparison``.

Shapes: T targets, U users, M models, S = 6 settings (a protocol and a metric), R resamples.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, groupby, pairwise
from operator import attrgetter
from typing import Final

import numpy

from ssm4rec.artifacts.candidates import Candidates
from ssm4rec.artifacts.comparison import Comparison, ModelRow, PairRow, RecommendationsRow, SliceRow
from ssm4rec.artifacts.dataset import Int32s, Int64s, SequenceDataset
from ssm4rec.artifacts.estimate import CONFIDENCE, POWER, Estimate
from ssm4rec.artifacts.names import MASKED, METRICS, MOST_POPULAR, PROTOCOLS, TIME_BASELINES, metric_name
from ssm4rec.artifacts.ranks import Ranks
from ssm4rec.evaluation import slices, statistics
from ssm4rec.evaluation.beyond_accuracy import Listed, TrainingUsers, recommendations_row
from ssm4rec.evaluation.metrics import gains_at, metric_at
from ssm4rec.evaluation.statistics import Floats
from ssm4rec.runtime.errors import InputError

CUTOFF: Final = 10

_SETTINGS: Final = tuple((protocol, metric) for protocol in PROTOCOLS for metric in METRICS)


@dataclass(frozen=True)
class Evaluations:
    """Ranks and candidates that belong together; ``gather`` makes one.

    Attributes:
        ranks: of each model, by its name, one a seed in ascending order; at least one.
        candidates: sorted by model and seed.
    """

    ranks: dict[str, list[Ranks]]
    candidates: list[Candidates]

    @property
    def any_ranks(self) -> Ranks:
        """The ranks of some model: users, targets and the baselines' ranks are the same in all."""
        return next(iter(self.ranks.values()))[0]

    def mean_gains(self, model: str, protocol: str, metric: str) -> Floats:
        """Return each target's gain at ``CUTOFF``, the mean over the model's seeds, (T,); baselines have one."""
        if model in TIME_BASELINES:
            return gains_at(metric, self.any_ranks.baselines[model][PROTOCOLS.index(protocol)], CUTOFF)
        gains = [gains_at(metric, one.of(protocol), CUTOFF) for one in self.ranks[model]]
        mean: Floats = numpy.mean(gains, axis=0)
        return mean


def gather(ranks: Iterable[Ranks], candidates: Iterable[Candidates]) -> Evaluations:
    """Check that ranks and candidates, all of one data set, belong together.

    Raises:
        InputError: no ranks; a (model, seed) twice; ranks of different splits or users, or whose baselines differ;
            candidates of a (model, seed) without ranks, or of another split or other users than these.
    """
    ordered = sorted(ranks, key=attrgetter("model", "seed"))
    if not ordered:
        raise InputError("no ranks were given: there is nothing to compare; run evaluate first")
    first = ordered[0]
    if len(numpy.unique(first.users)) < 2:
        raise InputError(f"the ranks of {_name(first)} are of one user; a comparison needs two at least")
    _check_each_once(ordered, "ranks")
    for one in ordered:
        _check_same_users(one, first, "ranks")
        if not numpy.array_equal(one.history_lengths, first.history_lengths):
            raise InputError(
                f"ranks of {_name(one)} and of {_name(first)} are of different targets; compare on the same targets"
            )
        _check_same_baselines(one, first)
    by_model = {model: list(of_model) for model, of_model in groupby(ordered, attrgetter("model"))}
    by_seed = sorted(candidates, key=attrgetter("model", "seed"))
    _check_each_once(by_seed, "candidates")
    for recommended in by_seed:
        if recommended.seed not in {one.seed for one in by_model.get(recommended.model, [])}:
            raise InputError(f"candidates of {_name(recommended)}, of which no ranks were given; add them")
        _check_same_users(recommended, first, "candidates")
    return Evaluations(by_model, by_seed)


def compare(dataset: SequenceDataset, evaluations: Evaluations, resamples: int, seed: int) -> Comparison:
    """Compare all models and the most-popular baseline, every pair in every setting, by R resamples of each kind.

    The other baselines get intervals and slices but no tests: more pairs would make Holm's correction of all stricter.
    """
    first = evaluations.any_ranks
    paired = [*evaluations.ranks, MOST_POPULAR]
    alone = [name for name in first.baselines if name != MOST_POPULAR]
    models = [*paired, *alone]
    columns = [evaluations.mean_gains(model, *setting) for setting in _SETTINGS for model in models]
    gains = numpy.stack(columns, axis=1).reshape(-1, len(_SETTINGS), len(models))  # (T, S, M)
    sums, targets = statistics.by_user(gains, first.users)  # (U, S, M), (U,)
    rng = numpy.random.default_rng(seed)
    tested = sums[:, :, : len(paired)].reshape(len(sums), -1)
    shape = (resamples, len(_SETTINGS), -1)
    drawn = statistics.bootstrap_means(sums.reshape(len(sums), -1), resamples, rng, targets).reshape(shape)  # (R, S, M)
    flipped = statistics.flipped_means(tested, resamples, rng, targets).reshape(shape)
    model_rows, pair_rows, slice_rows = [], [], []
    parts = {
        "history_length": slices.parts_by_history_length(first.history_lengths),
        "target_popularity": slices.parts_by_popularity(first.targets, dataset.training_counts()),
    }
    for number, (protocol, metric) in enumerate(_SETTINGS):
        setting = (protocol, metric_name(metric, CUTOFF))
        pair_rows += _pairs(paired, setting, sums[:, number], targets, drawn[:, number], flipped[:, number])
        for column, model in enumerate(models):
            own = gains[:, number, column]
            by_seed = evaluations.ranks.get(model, [])
            values = {one.seed: metric_at(metric, one.of(protocol), CUTOFF) for one in by_seed}
            mean = Estimate(float(own.mean()), *statistics.interval(drawn[:, number, column]), len(targets))
            model_rows.append(_model_row(model, setting, mean, values))
            for by, targets_of in parts.items():
                slice_rows += [
                    _slice_row(model, setting, by, part, own[chosen], first.users[chosen])
                    for part, chosen in targets_of.items()
                    if chosen.any()
                ]
    return Comparison(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        split=first.split,
        users=len(targets),
        targets=len(first.users),
        items=dataset.item_count,
        resamples=resamples,
        confidence=CONFIDENCE,
        power=POWER,
        models=tuple(model_rows),
        pairs=tuple(pair_rows),
        slices=tuple(slice_rows),
        recommendations=_recommendations(dataset, evaluations, resamples, seed),
        notes=_notes(evaluations),
    )


def _notes(evaluations: Evaluations) -> tuple[str, ...]:
    """Return a sentence if the models were not ranked by as many shards of users each."""
    by_shards: dict[int, list[str]] = {}
    for one in chain(*evaluations.ranks.values()):
        by_shards.setdefault(one.shards, []).append(_name(one))
    if len(by_shards) == 1:
        return ()
    told = "; ".join(f"{shards}: {', '.join(names)}" for shards, names in sorted(by_shards.items()))
    return (
        f"The models were ranked by different numbers of shards of users ({told}): with other batches the last bits of "
        "scores differ, and so do a few ranks where two items are as close as that, 3 of 4,000 in a measurement; to "
        "compare without, evaluate all models with --workers 1, or all with more.",
    )


def _recommendations(
    dataset: SequenceDataset, evaluations: Evaluations, resamples: int, seed: int
) -> tuple[RecommendationsRow, ...]:
    """Return a row for every training's candidates, then for the lists of baselines that came with them."""
    training = TrainingUsers(dataset)
    by_seed = {(ranks.model, ranks.seed): ranks for of_model in evaluations.ranks.values() for ranks in of_model}
    listed = []
    for protocol in PROTOCOLS:
        for one in evaluations.candidates:
            if (items := one.items if protocol == MASKED else one.unmasked.get(one.model)) is not None:
                ranks = by_seed[one.model, one.seed]
                whose = (one.model, one.seed, protocol)
                listed.append(Listed(*whose, one.users, items, ranks.users, ranks.targets, ranks.of(protocol)))
        for one in evaluations.candidates[:1]:  # all have the same
            for name, items in (one.baselines if protocol == MASKED else one.unmasked).items():
                if name != one.model:
                    ranks = evaluations.any_ranks
                    of_protocol = ranks.baselines[name][PROTOCOLS.index(protocol)]
                    baseline = (name, None, protocol)
                    listed.append(Listed(*baseline, one.users, items, ranks.users, ranks.targets, of_protocol))
    return tuple(recommendations_row(one, training, CUTOFF, resamples, seed) for one in listed)


def _name(one: Ranks | Candidates) -> str:
    return f"{one.model} seed {one.seed}"


def _check_each_once(ordered: Sequence[Ranks | Candidates], content: str) -> None:
    for one, following in pairwise(ordered):
        if (one.model, one.seed) == (following.model, following.seed):
            raise InputError(f"two {content} files of {_name(one)}; give each one once")


def _check_same_users(one: Ranks | Candidates, first: Ranks, content: str) -> None:
    if one.split != first.split:
        raise InputError(
            f"{content} of {_name(one)} are of the {one.split} split, ranks of {_name(first)} of the {first.split} "
            "split; compare on one split"
        )
    users = first.users if isinstance(one, Ranks) else numpy.unique(first.users)
    if not numpy.array_equal(one.users, users):
        raise InputError(
            f"{content} of {_name(one)} ({len(one.users)}) and ranks of {_name(first)} ({len(users)}) "
            "are of different users; compare on the same users"
        )


def _check_same_baselines(one: Ranks, first: Ranks) -> None:
    for name in first.baselines:
        if not all(map(numpy.array_equal, one.baselines.get(name, ()), first.baselines[name])):
            raise InputError(
                f"{name} has other ranks in the file of {_name(one)} than in that of {_name(first)}; the same data "
                "must give the same, run evaluate again"
            )


def _model_row(model: str, setting: tuple[str, str], mean: Estimate, values: dict[int, float]) -> ModelRow:
    of_seeds = list(values.values())
    deviation, over_seeds = None, None
    if len(of_seeds) > 1:
        deviation, over_seeds = float(numpy.std(of_seeds, ddof=1)), statistics.mean_over_seeds(of_seeds)
    return ModelRow(model, *setting, mean, list(values), of_seeds, deviation, over_seeds)


def _pairs(
    models: Sequence[str],
    setting: tuple[str, str],
    sums: Floats,
    targets: Int64s,
    drawn: Floats,
    flipped: Floats,
) -> list[PairRow]:
    """Return all pairs of ``models``, the first of M, in one setting, a protocol and a metric.

    Each user has sums of gains (U, M) and targets (U,); resampled means and means with random signs are (R, M).
    """
    pairs = list(combinations(range(len(models)), 2))
    differences = [drawn[:, first] - drawn[:, second] for first, second in pairs]
    of_users = [sums[:, first] - sums[:, second] for first, second in pairs]
    observed = [float(one.sum() / targets.sum()) for one in of_users]
    bootstrap_p = [statistics.bootstrap_p_value(difference) for difference in differences]
    permutation_p = [
        statistics.permutation_p_value(difference, flipped[:, first] - flipped[:, second])
        for difference, (first, second) in zip(observed, pairs, strict=True)
    ]
    bootstrap_p_holm, permutation_p_holm = statistics.holm(bootstrap_p), statistics.holm(permutation_p)
    return [
        PairRow(
            models[first],
            models[second],
            *setting,
            difference=statistics.difference_over_users(
                of_users[number], targets, differences[number], permutation_p_holm[number]
            ),
            bootstrap_p=bootstrap_p[number],
            bootstrap_p_holm=bootstrap_p_holm[number],
            permutation_p=permutation_p[number],
        )
        for number, (first, second) in enumerate(pairs)
    ]


def _slice_row(model: str, setting: tuple[str, str], by: str, part: str, gains: Floats, users: Int32s) -> SliceRow:
    sums, targets = statistics.by_user(gains, users)
    error = statistics.standard_error(sums, targets) if len(sums) > 1 else None
    return SliceRow(model, *setting, by, part, len(gains), float(gains.mean()), error)
