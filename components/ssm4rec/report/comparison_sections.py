"""What the report says of how sure the differences between models are, and of whom each model serves."""

import math
from typing import Final

from ssm4rec.artifacts.comparison import Comparison, ModelRow, PairRow, SliceRow
from ssm4rec.artifacts.estimate import SIGNIFICANCE, p_text
from ssm4rec.artifacts.names import MOST_POPULAR, PROTOCOLS, TIME_BASELINES, in_table_order
from ssm4rec.report.figures import INK, Figure, drawing, style, whiskers
from ssm4rec.report.markdown import MISSING, escape, population, table
from ssm4rec.report.sections import Section

_METRICS: Final = ("ndcg@10", "hit@10")
_TEN: Final = ("hit@10", "ndcg@10", "mrr@10")
_SLICES: Final = {
    "history_length": "length of the history (quarters of the targets)",
    "target_popularity": "popularity of the target (head: the 20% of items with the most training interactions)",
}


def comparison_sections(comparison: Comparison | None) -> list[Section]:
    """Return the sections of a comparison; none without one."""
    if comparison is None:
        return []
    figures = (*(_differences(comparison, protocol) for protocol in PROTOCOLS), _by_length(comparison))
    return [
        Section("Which differences are significant", _significance(comparison), figures),
        Section("Whom a model serves, and with what", _parts(comparison)),
    ]


def model_row(comparison: Comparison, model: str, protocol: str, metric: str) -> ModelRow | None:
    """Return a model's row, None for a model that was not compared."""
    rows = [row for row in comparison.models if (row.model, row.protocol, row.metric) == (model, protocol, metric)]
    return rows[0] if rows else None


def pair_row(comparison: Comparison, first: str, second: str, protocol: str, metric: str) -> PairRow | None:
    """Return the row of first - second, None for a pair that was not compared; pairs are in order of their names."""
    wanted = (first, second, protocol, metric)
    rows = [row for row in comparison.pairs if (row.first, row.second, row.protocol, row.metric) == wanted]
    return rows[0] if rows else None


def pair_name(row: PairRow) -> str:
    """Return what is subtracted from what."""
    return f"{row.first} \N{MINUS SIGN} {row.second}"


CORRECTED: Final = ("p, Holm-corrected", "MDE")


def corrected(row: PairRow) -> tuple[str, str]:
    """Return the cells of ``CORRECTED``."""
    p, mde = row.difference.p_holm, row.difference.mde
    return (MISSING if p is None else p_text(p), MISSING if mde is None else f"{mde:.4f}")


def judged(row: PairRow) -> str:
    """Return the verdict on a pair."""
    first, second = (f"{escape(name)} is significantly better" for name in (row.first, row.second))
    return row.difference.verdict(first, second)


def _significance(comparison: Comparison) -> str:
    notes = (
        f"Over {population(comparison.users, comparison.targets)} of {comparison.split}. Brackets are 95% bootstrap "
        f"intervals ({comparison.resamples:,} resamples of users, the same for all models). p-values are of two-sided "
        "permutation tests, Holm-corrected for all pairs of one table. A difference is significant if its interval "
        f"excludes zero and its corrected p is below {SIGNIFICANCE:g}. Of the baselines only {MOST_POPULAR} is tested. "
        "MDE, the minimum detectable effect: the smallest difference that one uncorrected test on these users would "
        f"find with a chance of {comparison.power:.0%}; a smaller one may exist and stay unseen. These intervals are "
        "for the models as trained; intervals over seeds have their own column."
    )
    parts = [notes]
    for protocol in PROTOCOLS:
        parts += [f"### History {protocol}: means", _means(comparison, protocol)]
        for metric in _METRICS:
            rows = [
                [
                    escape(pair_name(row)),
                    judged(row),
                    row.difference.text(),
                    p_text(row.permutation_p),
                    *corrected(row),
                ]
                for row in comparison.pairs
                if (row.protocol, row.metric) == (protocol, metric)
            ]
            header = ["Pair", "Verdict", "Difference", "p", *CORRECTED]
            parts += [f"### History {protocol}: {metric.upper()} of every pair", table(header, rows, text_columns=3)]
    return "\n\n".join(parts)


def _means(comparison: Comparison, protocol: str) -> str:
    rows = []
    for model in _models(comparison):
        cells = []
        for metric in _TEN:
            row = model_row(comparison, model, protocol, metric)
            cells.append(row.mean.text() if row else MISSING)
        ndcg = model_row(comparison, model, protocol, "ndcg@10")
        rows.append([escape(model), *cells, str(len(ndcg.seeds) or MISSING) if ndcg else MISSING, _over_seeds(ndcg)])
    header = ["Model", "HIT@10", "NDCG@10", "MRR@10", "Seeds", "NDCG@10 over seeds"]
    return table(header, rows, text_columns=len(header))


def _over_seeds(row: ModelRow | None) -> str:
    if row is None or row.over_seeds is None:
        return MISSING
    return f"± {row.seed_deviation:.4f} [{row.over_seeds.low:.4f}, {row.over_seeds.high:.4f}]"


def _models(comparison: Comparison) -> list[str]:
    """Return the models by name, the baselines last."""
    return in_table_order(row.model for row in comparison.models)


def _parts(comparison: Comparison) -> str:
    parts = []
    for by, words in _SLICES.items():
        for protocol in PROTOCOLS:
            parts += [f"### NDCG@10 by {words}, history {protocol}", _slices(comparison, by, protocol)]
    rows = [
        [escape(row.model), str(row.seed), f"{row.coverage:.1%}", f"{row.gini:.3f}"]
        for row in comparison.recommendations
    ]
    if rows:
        parts += [
            "### What is recommended",
            "Of the ten best items, history masked, that each user is given. Coverage: share of the catalog that is "
            "recommended to anybody. Gini index of how often each item is: 0 for all alike, near 1 when few items are "
            "all that is recommended.",
            table(["Model", "Seed", "Coverage", "Gini index"], rows, text_columns=1),
        ]
    return "\n\n".join(parts)


def _slices(comparison: Comparison, by: str, protocol: str) -> str:
    rows = _slice_rows(comparison, by, protocol)
    parts = list(dict.fromkeys(row.part for row in rows))
    models = _models(comparison)
    cells = {(row.part, row.model): row for row in rows}
    lines = [
        [part, f"{cells[part, models[0]].targets:,}", *(_slice_cell(cells[part, model]) for model in models)]
        for part in parts
    ]
    return table(["", "Targets", *map(escape, models)], lines, text_columns=len(models) + 2)


def _slice_rows(comparison: Comparison, by: str, protocol: str) -> list[SliceRow]:
    return [row for row in comparison.slices if (row.by, row.protocol, row.metric) == (by, protocol, "ndcg@10")]


def _slice_cell(row: SliceRow) -> str:
    return f"{row.mean:.4f}" + ("" if row.standard_error is None else f" ± {row.standard_error:.4f}")


def _differences(comparison: Comparison, protocol: str) -> Figure:
    """Draw every pair's difference in NDCG@10 with its interval."""
    pairs = [row for row in comparison.pairs if (row.protocol, row.metric) == (protocol, "ndcg@10")]
    with drawing(f"differences-{protocol}", height=1.2 + 0.28 * len(pairs)) as made:
        made.axes.axvline(0, color=INK, linewidth=0.8)
        for place, row in enumerate(reversed(pairs)):
            sure = row.difference.sign != 0
            made.axes.errorbar(
                [row.difference.value],
                [place],
                xerr=whiskers([row.difference]),
                fmt="o" if sure else "s",
                color=style(0 if sure else 6)["color"],
                markerfacecolor=None if sure else "none",
                capsize=2,
                markersize=4,
                linewidth=1.2,
            )
        made.axes.set_yticks(range(len(pairs)), [pair_name(row) for row in reversed(pairs)])
        made.axes.set_xlabel("Difference in NDCG@10")
    columns = ("first", "second", "difference", "low", "high", "p", "p_holm", "mde")
    numbers = [
        (
            row.first,
            row.second,
            row.difference.value,
            row.difference.low,
            row.difference.high,
            row.permutation_p,
            row.difference.p_holm,
            row.difference.mde,
        )
        for row in pairs
    ]
    caption = (
        f"Differences of every pair in NDCG@10, history {protocol}, with 95% intervals over users; a filled circle "
        "where the difference is significant, an open square where it is not."
    )
    return made.figure(caption, columns, numbers)


def _by_length(comparison: Comparison) -> Figure:
    """Draw NDCG@10 against the quarters of the targets by history length, the paper's protocol."""
    models = [name for name in _models(comparison) if name == MOST_POPULAR or name not in TIME_BASELINES]
    rows = [row for row in _slice_rows(comparison, "history_length", PROTOCOLS[0]) if row.model in models]
    parts = list(dict.fromkeys(row.part for row in rows))
    with drawing("by-history-length") as made:
        for place, model in enumerate(models):
            own = [row for row in rows if row.model == model]
            errors = [math.nan if row.standard_error is None else row.standard_error for row in own]
            shift = 0.05 * (place - (len(models) - 1) / 2)
            along = [parts.index(row.part) + shift for row in own]
            made.axes.errorbar(along, [row.mean for row in own], yerr=errors, capsize=2, label=model, **style(place))
        made.axes.set_xticks(range(len(parts)), parts)
        made.axes.set_ylim(bottom=0)
        made.axes.set_xlabel("Items in the history")
        made.axes.set_ylabel("NDCG@10")
        made.axes.legend(frameon=False, fontsize=9)
    caption = (
        "NDCG@10 by the length of the history, unmasked, a quarter of the targets each; whiskers are standard errors."
    )
    numbers = [(row.model, row.part, row.targets, row.mean, row.standard_error) for row in rows]
    return made.figure(caption, ("model", "history_length", "targets", "ndcg@10", "standard_error"), numbers)
