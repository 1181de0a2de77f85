"""What the report says of how sure the differences between models are, and of whom each model serves."""

import math
from collections.abc import Callable
from itertools import product
from typing import Final

from matplotlib.ticker import MaxNLocator

from ssm4rec.artifacts.comparison import Comparison, ModelRow, PairRow, RecommendationsRow, SliceRow
from ssm4rec.artifacts.estimate import NORMAL_REACH, SIGNIFICANCE, interval_text, p_text
from ssm4rec.artifacts.names import MOST_POPULAR, PROTOCOLS, TIME_BASELINES, in_table_order
from ssm4rec.report.document import Section
from ssm4rec.report.figures import INK, Figure, cells, drawing, style, whiskers
from ssm4rec.report.findings import SEEDS_FOR_A_SPREAD
from ssm4rec.report.markdown import MISSING, escape, plural, population, table, table_of

TEN: Final = ("hit@10", "ndcg@10", "mrr@10")
CORRECTED: Final = ("p, Holm-corrected", "MDE")
_TICKS_BESIDE_NAMES: Final = 4
"""Steps at most of an axis that the names of two models leave little room: more, and their numbers touch."""
_SLICES: Final = {
    "history_length": "length of the history (quarters of the targets)",
    "target_popularity": "popularity of the target (head: the 20% of items with the most training interactions)",
}


def comparison_sections(comparison: Comparison | None, *, judged: bool = True) -> list[Section]:
    """Return the sections of a comparison; none without one; not ``judged``: differences without tests or verdicts."""
    if comparison is None:
        return []
    figures = (*(_differences(comparison, protocol, judged) for protocol in PROTOCOLS), _by_length(comparison))
    title = "Which differences are significant" if judged else "Differences between the models"
    return [
        Section(title, _significance(comparison, judged), figures, _pairs(comparison, judged)),
        Section("Whom a model serves, and with what", _parts(comparison)),
    ]


def model_row(comparison: Comparison, model: str, protocol: str, metric: str) -> ModelRow:
    """Return the row of a model that was compared, for a metric at 10."""
    wanted = (model, protocol, metric)
    return next(row for row in comparison.models if (row.model, row.protocol, row.metric) == wanted)


def pair_row(comparison: Comparison, first: str, second: str, protocol: str, metric: str) -> PairRow | None:
    """Return the row of first - second, None for a pair that was not compared; pairs are in order of their names."""
    wanted = (first, second, protocol, metric)
    rows = [row for row in comparison.pairs if (row.first, row.second, row.protocol, row.metric) == wanted]
    return rows[0] if rows else None


def slice_rows(comparison: Comparison, by: str, protocol: str) -> list[SliceRow]:
    """Return NDCG@10 of every part of the targets and every model."""
    return [row for row in comparison.slices if (row.by, row.protocol, row.metric) == (by, protocol, "ndcg@10")]


def pair_name(row: PairRow) -> str:
    """Return what is subtracted from what."""
    return f"{row.first} \N{MINUS SIGN} {row.second}"


def corrected(row: PairRow) -> tuple[str, str]:
    """Return the cells of ``CORRECTED``."""
    p, mde = row.difference.p_holm, row.difference.mde
    return (MISSING if p is None else p_text(p), MISSING if mde is None else f"{mde:.4f}")


def _significance(comparison: Comparison, judged: bool) -> str:
    pairs = sum((row.protocol, row.metric) == (PROTOCOLS[0], "ndcg@10") for row in comparison.pairs)
    tests = (
        "Nothing is tested or judged: profile smoke trains for seconds."
        if not judged
        else "p-values are of two-sided permutation tests, Holm-corrected in families of one protocol and metric: its "
        f"{plural(pairs, 'pair')}, a table each. A difference is significant if its interval "
        f"excludes zero and its corrected p is below {SIGNIFICANCE:g}. Of the baselines only {MOST_POPULAR} is tested. "
        "MDE, the minimum detectable effect: the smallest difference that one uncorrected test on these users would "
        f"find with a chance of {comparison.power:.0%}; a smaller one may exist and stay unseen."
    )
    notes = (
        f"Over {population(comparison.users, comparison.targets)} of {comparison.split}. Brackets are 95% bootstrap "
        f"intervals ({comparison.resamples:,} resamples of users, the same for all models). {tests} These "
        "intervals are for the models as trained; intervals over three seeds or more have their own column."
    )
    parts = [notes, *map(escape, comparison.notes)]
    for protocol in PROTOCOLS:
        parts += [f"### History {protocol}: means", _means(comparison, protocol)]
    return "\n\n".join(parts)


def _pairs(comparison: Comparison, judged: bool) -> dict[str, str]:
    """Return the tables of all pairs, by their titles."""
    tables = {}
    for protocol, metric in product(PROTOCOLS, ("ndcg@10", "hit@10")):
        rows = [row for row in comparison.pairs if (row.protocol, row.metric) == (protocol, metric)]
        columns: dict[str, Callable[[PairRow], str]] = {"Pair": lambda row: escape(pair_name(row))}
        if judged:
            columns["Verdict"] = _judged
        columns["Difference"] = lambda row: row.difference.text()
        if judged:
            columns |= {CORRECTED[0]: lambda row: corrected(row)[0], CORRECTED[1]: lambda row: corrected(row)[1]}
        title = f"History {protocol}: {metric.upper()} of every pair"
        tables[title] = table_of(rows, columns, text_columns=3 if judged else 2)
    return tables


def _judged(row: PairRow) -> str:
    first, second = (f"{escape(name)} is significantly better" for name in (row.first, row.second))
    return row.difference.verdict(first, second)


_RECOMMENDED: Final = """\
Of the ten best items that each user is given, with the history unmasked, as the champion is served (items that the
user had are among them), and masked, which says how it recommends new items. Intervals are over users. Coverage: share
of the catalog that is recommended to anybody. Gini index of how often each item is: 0 for all alike, near 1 when few
items are all that is recommended. Neither has an interval: a bootstrap draws some users twice and others not at all,
and fewer different users are recommended fewer different items. Novelty: how rare the items are, -log2 of the share of
users who had them in training. Serendipity: an item of the list that the user went on to have counts by how much higher
it stands there than in the order of popularity (in which equally popular items share a rank), as a share of the
catalog; any other item counts 0. Diversity: 1 - cosine similarity of two items by the users who had them. Debiased
NDCG@10: an item that is the target more than Q3 + 1.5 (Q3 - Q1) times, rounded down, weighs as if it were the target
that often; Q1 and Q3 are the quartiles of how often each item is the target. The formulas are RecTools'. The rows
of most-popular show what a number is worth: unmasked it is one list for everyone, masked the same less the items that
a user had. most-recent and most-frequent have no rows: unmasked, their lists are the history; masked, they are
most-popular's."""


_RECOMMENDED_COLUMNS: Final[dict[str, Callable[[RecommendationsRow], str]]] = {
    "Model": lambda row: escape(row.model),
    "Seed": lambda row: MISSING if row.seed is None else str(row.seed),
    "Coverage": lambda row: f"{row.coverage:.1%}",
    "Gini index": lambda row: f"{row.gini:.3f}",
    "Novelty, bits": lambda row: row.novelty.text("{:.2f}".format),
    "Serendipity": lambda row: row.serendipity.text("{:.5f}".format),
    "Diversity": lambda row: row.diversity.text("{:.3f}".format),
    "Debiased NDCG@10": lambda row: row.debiased_ndcg.text(),
}


def _means(comparison: Comparison, protocol: str) -> str:
    rows = []
    for model in in_table_order(row.model for row in comparison.models):
        hit, ndcg, mrr = (model_row(comparison, model, protocol, metric) for metric in TEN)
        over_seeds = MISSING
        if len(ndcg.seeds) > 1:
            over_seeds = " and ".join(f"{value:.4f}" for value in ndcg.seed_values)
        if ndcg.over_seeds and len(ndcg.seeds) >= SEEDS_FOR_A_SPREAD:
            over_seeds = f"± {ndcg.seed_deviation:.4f} [{ndcg.over_seeds.low:.4f}, {ndcg.over_seeds.high:.4f}]"
        means = [row.mean.text() for row in (hit, ndcg, mrr)]
        rows.append([escape(model), *means, str(len(ndcg.seeds) or MISSING), over_seeds])
    header = ["Model", "HIT@10", "NDCG@10", "MRR@10", "Seeds", "NDCG@10 over seeds"]
    return table(header, rows, text_columns=len(header))


def _parts(comparison: Comparison) -> str:
    parts = ["Brackets hold 95% intervals over users; of a part of the targets 1.96 standard errors each way."]
    for by, words in _SLICES.items():
        for protocol in PROTOCOLS:
            parts += [f"### NDCG@10 by {words}, history {protocol}", _slices(comparison, by, protocol)]
    if comparison.recommendations:
        parts += [
            "### What is recommended",
            _RECOMMENDED,
        ]
        for protocol in PROTOCOLS:
            if rows := [row for row in comparison.recommendations if row.protocol == protocol]:
                parts += [f"### Lists with the history {protocol}", table_of(rows, _RECOMMENDED_COLUMNS)]
    return "\n\n".join(parts)


def _slices(comparison: Comparison, by: str, protocol: str) -> str:
    rows = slice_rows(comparison, by, protocol)
    models = in_table_order(row.model for row in rows)
    means = {(row.part, row.model): interval_text(row.mean, row.standard_error) for row in rows}
    targets = {row.part: row.targets for row in rows}
    lines = [[escape(model), *(means[part, model] for part in targets)] for model in models]
    header = ["Model", *(f"{part}, {plural(count, 'target')}" for part, count in targets.items())]
    return table(header, lines, text_columns=len(header))


def _differences(comparison: Comparison, protocol: str, judged: bool) -> Figure:
    pairs = [row for row in comparison.pairs if (row.protocol, row.metric) == (protocol, "ndcg@10")]
    caption = f"Differences of every pair in NDCG@10, history {protocol}, with 95% intervals over users" + (
        "; a filled circle where the difference is significant, an open square where it is not." if judged else "."
    )
    columns = ("first", "second", "difference", "low", "high", "p", "p_holm", "mde")
    labels, height = ("Difference in NDCG@10", ""), 1.2 + 0.28 * len(pairs)
    with drawing(f"differences-{protocol}", caption, columns, labels, height=height) as figure:
        figure.axes.axvline(0, color=INK, linewidth=0.8)
        for place, row in enumerate(reversed(pairs)):
            sure = judged and row.difference.sign != 0
            figure.axes.errorbar(
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
        figure.axes.xaxis.set_major_locator(MaxNLocator(_TICKS_BESIDE_NAMES))
        figure.axes.set_yticks(range(len(pairs)), [pair_name(row) for row in reversed(pairs)])
        for row in pairs:
            tested = (row.permutation_p, row.difference.p_holm, row.difference.mde)
            figure.rows.append((row.first, row.second, *cells(row.difference), *tested))
    return figure


def _by_length(comparison: Comparison) -> Figure:
    """Draw NDCG@10 against the quarters of the targets by history length, the paper's protocol."""
    rows = slice_rows(comparison, "history_length", PROTOCOLS[0])
    rows = [row for row in rows if row.model == MOST_POPULAR or row.model not in TIME_BASELINES]
    parts = list(dict.fromkeys(row.part for row in rows))
    caption = (
        "NDCG@10 by the length of the history, unmasked, a quarter of the targets each, with 95% intervals over users."
    )
    columns = ("model", "history_length", "targets", "ndcg@10", "standard_error")
    with drawing("by-history-length", caption, columns, ("Items in the history", "NDCG@10")) as figure:
        models = in_table_order(row.model for row in rows)
        for place, model in enumerate(models):
            own = [row for row in rows if row.model == model]
            shift = 0.05 * (place - (len(models) - 1) / 2)
            figure.series(place, model, [(parts.index(row.part) + shift, row.mean) for row in own], slice_reaches(own))
        figure.axes.set_xticks(range(len(parts)), parts)
        figure.axes.set_ylim(bottom=0)
        figure.rows.extend((row.model, row.part, row.targets, row.mean, row.standard_error) for row in rows)
    return figure


def slice_reaches(rows: list[SliceRow]) -> list[float]:
    """Return how far 95% intervals reach to either side; not a number where a standard error is not known."""
    return [math.nan if row.standard_error is None else NORMAL_REACH * row.standard_error for row in rows]
