"""What the report says of the second split: what leave-one-out leaks, and whether the models' order survives."""

import statistics
from typing import Final

from ssm4rec.artifacts.comparison import Comparison, PairRow
from ssm4rec.artifacts.estimate import NOT_SIGNIFICANT, SIGNIFICANCE
from ssm4rec.artifacts.names import MOST_POPULAR, PROTOCOLS
from ssm4rec.report.comparison_sections import CORRECTED, corrected, model_row, pair_name
from ssm4rec.report.document import Section
from ssm4rec.report.markdown import (
    MISSING,
    bullets,
    escape,
    listed,
    metric_cell,
    plural,
    population,
    setting_cell,
    table,
)
from ssm4rec.report.tables import flattened, trainings
from ssm4rec.studies.comparative.findings import few_users, of_these_trainings, time_split
from ssm4rec.studies.comparative.study import GlobalTime, Study

_METRICS: Final = ("hit@10", "ndcg@10")
_SPLITS: Final = ("leave-one-out", "global-time")


def global_time_sections(study: Study) -> list[Section]:
    """Return the section of the second split; none without one."""
    if study.global_time is None:
        return []
    again = study.global_time.study
    parts = [_leak(study, study.global_time), _cuts(study, again)]
    for protocol in PROTOCOLS:
        parts += [f"### History {protocol}", _order(study, again, protocol), _means(study, again, protocol)]
        parts += _pairs(study, again, protocol)
    parts += ["### Limits", bullets(_limits(study, again)), "The trainings on the data split by time:"]
    parts.append(trainings(again))
    return [Section("Without looking into the future", "\n\n".join(parts))]


def _judged(study: Study, again: Study) -> bool:
    return not (study.smoke or again.smoke)


def _leak(study: Study, second: GlobalTime) -> str:
    users = study.trainings[0].users
    models = listed([escape(model) for model in second.study.models])
    return (
        "With leave-one-out, the split of all other sections, the test target is a user's last item, whenever that "
        "was. Training then sees what others did afterwards, which nobody who recommends at that time can know: "
        f"{second.users_with_later:.1%} of the {plural(users, 'test user')} have training events later than their "
        f"target, and for the median of them {second.later_events:.0%} of all training events are later. So "
        f"{models} {'was' if len(second.study.models) == 1 else 'were'} trained once more on the same data, cut at the "
        "same two moments for all users (global-time)."
    )


def _cuts(study: Study, again: Study) -> str:
    split, evaluation = again.manifest["split"], again.trainings[0]
    unseen = split["test_targets_unseen_in_training"]
    return (
        f"{time_split(split)} Only users with events before and after the start of the test are test users: "
        f"{evaluation.users:,} of "
        f"{again.manifest['counts']['users']:,}, where leave-one-out has {study.trainings[0].users:,}; all "
        f"{plural(evaluation.items, 'item')} are ranked, as there. Training has "
        f"{split['training_interactions']:,} interactions instead of "
        f"{study.manifest['split']['training_interactions']:,}. {plural(unseen, 'target')} of {evaluation.targets:,} "
        f"{'is an item' if unseen == 1 else 'are items'} that training never saw. Validation has targets of the same "
        "kind, between the two moments."
    )


def _order(study: Study, again: Study, protocol: str) -> str:
    models = _shared(study, again)
    ours, theirs = (_ranked(one, models, protocol) for one in (study, again))
    if ours == theirs:
        order = f"By NDCG@10 the order is **the same** in both splits: {_in_order(ours)}."
    else:
        order = (
            f"By NDCG@10 the order is **not the same**: {_in_order(ours)} with leave-one-out; "
            f"{_in_order(theirs)} with global-time."
        )
    order += _baselines_above(study, again, models, protocol)
    if not _judged(study, again):
        return f"{order} Nothing is judged: profile smoke trains for seconds."
    if not (study.comparison and again.comparison):
        return f"{order} Whether these differences are significant was not tested."
    counts, others = [], 0
    for comparison, name in zip((study.comparison, again.comparison), _SPLITS, strict=True):
        rows = _rows(comparison, models, protocol)
        different = sum(bool(_better(row)) for row in rows)
        others += len(rows) - different
        counts.append(f"{different} of {plural(len(rows), 'pair')} with {name}")
    chance = "; the order of the other pairs may be chance" if others else ""
    return f"{order} Significantly different{_of_these(study, again, *models)}: {listed(counts)}{chance}."


def _of_these(study: Study, again: Study, *models: str) -> str:
    """Return what qualifies a verdict on both splits where either has too few seeds."""
    return of_these_trainings(study, *models) or of_these_trainings(again, *models)


def _baselines_above(study: Study, again: Study, models: list[str], protocol: str) -> str:
    """Say which baselines, outside the order since they have no tests, are above all in it."""
    said = []
    for one, name in zip((study, again), _SPLITS, strict=True):
        means = _by_mean(one, [*models, *one.baselines], protocol)
        highest = max(means[model] for model in models)
        if above := [name for name in means if means[name] > highest]:
            said.append(f"{listed([*map(escape, above)])} with {name}")
    return f" Baselines, not in this order, that are above all of it (not tested): {'; '.join(said)}." if said else ""


def _means(study: Study, again: Study, protocol: str) -> str:
    rows = []
    ranked = _ranked(study, [*_shared(study, again)[:-1], *study.baselines], protocol)
    for model in (*ranked, *(name for name in again.baselines if name not in study.baselines)):
        cells = [_mean_cell(one, model, protocol, metric) for metric in _METRICS for one in (study, again)]
        rows.append([escape(model), *cells])
    header = ["Model", *(f"{metric.upper()}, {name}" for metric in _METRICS for name in _SPLITS)]
    return table(header, rows, text_columns=len(header))


def _mean_cell(study: Study, model: str, protocol: str, metric: str) -> str:
    values = study.values(model, study.split, protocol, metric)
    if values and study.comparison:
        return model_row(study.comparison, model, protocol, metric).mean.text()
    return metric_cell(values) if values else MISSING


def _pairs(study: Study, again: Study, protocol: str) -> list[str]:
    """Return what each pair of models does in both splits, and its numbers; nothing without two comparisons."""
    if not (study.comparison and again.comparison):
        return []
    models, judged = _shared(study, again), _judged(study, again)
    both = list(zip(*(_rows(one, models, protocol) for one in (study.comparison, again.comparison)), strict=True))
    words = [
        f"{escape(own.first)} and {escape(own.second)}{_of_these(study, again, own.first, own.second)}: "
        f"{_verdict(_better(own), _better(later))}."
        for own, later in both
    ]

    def cells(row: PairRow) -> tuple[str, ...]:
        return (row.difference.text(), *(corrected(row) if judged else ()))

    rows = [[escape(pair_name(own)), *cells(own), *cells(later)] for own, later in both]
    titles = CORRECTED if judged else ()
    header = ["NDCG@10", *(title for name in _SPLITS for title in (f"Difference, {name}", *titles))]
    shown = table(header, rows, text_columns=len(header))
    return [bullets(words), shown] if judged else [shown]


def _verdict(ours: str, theirs: str) -> str:
    """Say what the two splits' tests say together; '' stands for a difference that is not significant."""
    match ours, theirs:
        case "", "":
            return f"{NOT_SIGNIFICANT} in either split"
        case first, "":
            return f"{escape(first)} is significantly better with leave-one-out; {NOT_SIGNIFICANT} with global-time"
        case "", second:
            return f"{NOT_SIGNIFICANT} with leave-one-out; {escape(second)} is significantly better with global-time"
        case first, second if first == second:
            return f"{escape(first)} is significantly better in both splits"
        case first, second:
            return (
                f"reversed: {escape(first)} is significantly better with leave-one-out, {escape(second)} with "
                "global-time"
            )


def _limits(study: Study, again: Study) -> list[str]:
    lines = [
        "The two splits' numbers do not compare, only their order does: users and targets are others, and the second "
        "split has less to train on.",
        *few_users(again.trainings[0].users),
    ]
    if study.comparison and again.comparison:
        models, judged = _shared(study, again), _judged(study, again)
        lines += _widths(study.comparison, again.comparison, models, judged=judged)
    seeds = [
        f"{escape(model)} ({len(study.seeds(model))} and {len(again.seeds(model))})"
        for model in again.models
        if study.seeds(model) and len(study.seeds(model)) != len(again.seeds(model))
    ]
    if seeds:
        lines.append(f"Seeds with leave-one-out and with global-time: {listed(seeds)}.")
    if settings := _other_settings(study, again):
        lines.append(f"Settings that differ from the first split's: {listed(settings)}.")
    return lines


def _widths(ours: Comparison, theirs: Comparison, models: list[str], *, judged: bool) -> list[str]:
    reaches, smallest = [], []
    for comparison in (ours, theirs):
        means = [model_row(comparison, model, PROTOCOLS[0], "ndcg@10").mean for model in models[:-1]]
        reaches.append(statistics.mean((mean.high - mean.low) / 2 for mean in means))
        smallest.append(min(row.difference.mde or 0.0 for row in _rows(comparison, models, PROTOCOLS[0])))
    without = [escape(model) for model in models if model_row(theirs, model, PROTOCOLS[0], "hit@10").mean.value == 0]
    lines = []
    if without:
        lines.append(
            f"No hit at 10 of {listed(without)} among the {population(theirs.users, theirs.targets)} of global-time, "
            f"history {PROTOCOLS[0]}: resampled zeros make an interval without width. By the rule of three, a HIT@10 "
            f"of up to {3 / theirs.users:.3f} gives none as often as one time in twenty."
        )
    tested = (
        " The minimum detectable effect (MDE) of a pair is what a test on these users would find with a chance of 80%; "
        f"the smallest of these pairs' is {smallest[1]:.4f} with global-time and {smallest[0]:.4f} with leave-one-out. "
        "A smaller difference may exist and stay unseen."
    )
    families = (
        "p-values are Holm-corrected for all pairs of one protocol in each split's own comparison, which may be of "
        "more models with leave-one-out. Significant: the interval excludes zero and the corrected p is below "
        f"{SIGNIFICANCE:g}."
    )
    return [
        *lines,
        f"{population(theirs.users, theirs.targets)} instead of {population(ours.users, ours.targets)} give other "
        f"intervals: NDCG@10, history {PROTOCOLS[0]}, has 95% intervals that reach {reaches[1]:.4f} to either side "
        f"instead of {reaches[0]:.4f} (mean over the models)." + (tested if judged else ""),
        *([families] if judged else []),
    ]


def _other_settings(study: Study, again: Study) -> list[str]:
    found = []
    for model in _shared(study, again)[:-1]:
        ours, theirs = (flattened(one.models[model].recipe) for one in (study, again))
        found += [
            f"{escape(name)} of {escape(model)} ({setting_cell(ours.get(name))} with leave-one-out, "
            f"{setting_cell(theirs.get(name))} with global-time)"
            for name in sorted(ours.keys() | theirs.keys())
            if ours.get(name) != theirs.get(name)
        ]
    return found


def _shared(study: Study, again: Study) -> list[str]:
    return [*(model for model in again.models if model in study.models), MOST_POPULAR]


def _ranked(study: Study, models: list[str], protocol: str) -> list[str]:
    return [*_by_mean(study, models, protocol)]


def _by_mean(study: Study, models: list[str], protocol: str) -> dict[str, float]:
    """Return each model's mean NDCG@10, the highest first."""
    means = {model: statistics.mean(study.values(model, study.split, protocol, "ndcg@10")) for model in models}
    return dict(sorted(means.items(), key=lambda item: (-item[1], item[0])))


def _rows(comparison: Comparison, models: list[str], protocol: str) -> list[PairRow]:
    rows = [
        row
        for row in comparison.pairs
        if (row.protocol, row.metric) == (protocol, "ndcg@10") and {row.first, row.second} <= {*models}
    ]
    return sorted(rows, key=lambda row: (row.first, row.second))


def _better(row: PairRow) -> str:
    """Return the better model of a pair, '' where the difference is not significant."""
    return ("", row.first, row.second)[row.difference.sign]


def _in_order(models: list[str]) -> str:
    return ", then ".join(map(escape, models))
