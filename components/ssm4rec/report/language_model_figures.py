"""Figures of LlamaRec: before and after ORPO, liking for letters, and how fine-tuning and alignment went."""

import re
from collections.abc import Sequence
from typing import Final

from matplotlib.ticker import MaxNLocator, PercentFormatter

from ssm4rec.artifacts.curve import HELD_OUT, TRAIN, VALIDATION, Split
from ssm4rec.artifacts.names import METRICS, metric_name
from ssm4rec.artifacts.rankings import AMONG_CANDIDATES
from ssm4rec.report.figures import COLOURS, HATCHES, INK, Figure, drawing, whiskers
from ssm4rec.report.language_models import BASELINES, ORDER_NAMES, RANKER_NAMES, RANKERS, RankerRun

_ALIGNMENT: Final = (
    ("loss", "Loss, nats", "ORPO's loss (equation 5)"),
    ("log_odds_ratio", "Log odds ratio", "log of the odds ratio of winner and loser; above 0 the winner is preferred"),
    ("margin", "Margin", "margin, beta times the difference of the two log-likelihoods"),
    ("accuracy", "Accuracy", "share of pairs whose winner is more probable"),
)
_TUNING: Final[tuple[tuple[str, str, Split, str, str], ...]] = (
    (
        "letter_loss", "letter_loss", TRAIN, "Loss of the letter, nats",
        "Fine-tuning: loss of the right letter against the prompts seen; guessing among 20 is 3.00.",
    ),
    (
        "item_loss", "loss", TRAIN, "Loss of the item, nats",
        "Fine-tuning: loss of the right item among all of the catalog against the positions seen.",
    ),
    (
        "validation_ndcg", "ndcg@10", VALIDATION, "Validation NDCG@10",
        "Fine-tuning: NDCG@10 of validation users, among their candidates, shuffled, against the prompts seen.",
    ),
)  # fmt: skip
_OF_ONE_KIND: Final = {"letter_loss": True, "item_loss": False}
"""Of these, those of rankers with letters alone, or of those without."""


def before_and_after(run: RankerRun, order: str, *, as_in_paper: bool) -> Figure:
    """Draw bars of HIT, NDCG and MRR at 10 with 95% intervals, as the paper's Figures 1 and 2, in one order.

    ``as_in_paper``: the caption says so, which it should where the paper has the data set.
    """
    there = ", as the paper's Figures 1 and 2" if as_in_paper else ""
    seen = f", candidates {ORDER_NAMES[order]}" if run.letters else ""
    caption = (
        f"Before and after ORPO{there}: {run.finetuned.ranked:,} users whose target is among "
        f"the candidates{seen}; whiskers are 95% intervals over users."
    )
    columns = ("ranker", "metric", "value", "standard_error", "low", "high")
    with drawing(f"llamarec-{_slug(run)}-{order}", caption, columns, ("", ""), height=4.2, legend_columns=2) as figure:
        shown = [*BASELINES, *run.states]
        width = 0.8 / len(shown)
        for place, ranker in enumerate(shown):
            rows = [run.row(ranker, order, AMONG_CANDIDATES, metric_name(metric, 10)) for metric in METRICS]
            found = [run.estimate(row) for row in rows]
            kind = RANKERS.index(ranker)
            figure.axes.bar(
                [at + width * (place + 0.5) - 0.4 for at in range(len(METRICS))],
                [row.value for row in rows],
                width,
                yerr=whiskers(found),
                label=RANKER_NAMES[ranker],
                color=COLOURS[kind],
                hatch=HATCHES[kind],
                edgecolor="white",
                error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2},
            )
            for row, one in zip(rows, found, strict=True):
                figure.rows.append((ranker, row.metric, row.value, row.standard_error, one.low, one.high))
        figure.axes.set_xticks(range(len(METRICS)), [f"{metric.upper()}@10" for metric in METRICS])
        figure.axes.set_ylim(bottom=0)
    return figure


def first_places(run: RankerRun) -> Figure:
    """Draw how often each letter comes first with shuffled candidates: what a model prefers about the letters."""
    expected = 1 / run.finetuned.candidates
    caption = f"Liking for letters, candidates shuffled; the thin line is no liking, {expected:.0%}."
    columns = ("state", "letter", "prompts", "share")
    labels = ("Letter of the candidate ranked first", "Share of prompts")
    with drawing(f"letters-{_slug(run)}", caption, columns, labels) as figure:
        for place, state in enumerate(run.states):
            counts = run.first_place_counts(state)
            shares = [(chr(ord("A") + at), count / sum(counts)) for at, count in enumerate(counts)]
            figure.series(place, RANKER_NAMES[state], shares)
            figure.rows.extend(
                (state, letter, count, share) for count, (letter, share) in zip(counts, shares, strict=True)
            )
        figure.axes.axhline(expected, color=INK, linewidth=0.8, alpha=0.6)
        figure.axes.set_ylim(bottom=0)
        figure.axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def tuning_curves(runs: Sequence[RankerRun]) -> list[Figure]:
    """Draw loss and validation NDCG@10 of the fine-tunings against the prompts they have seen."""
    figures = []
    for column, name, split, label, caption in _TUNING:
        given = [
            (run, run.tuning) for run in runs if run.tuning and run.letters == _OF_ONE_KIND.get(column, run.letters)
        ]
        if not given:
            continue
        columns = ("ranker", "seed", "prompts", column)
        with drawing(f"fine-tuning-{column}", caption, columns, ("Training prompts seen", label)) as figure:
            for place, (run, curve) in enumerate(given):
                points = curve.against("seen", name, split)
                figure.series(place, run.name, points)
                figure.rows.extend((run.name, run.finetuned.seed, *point) for point in points)
            figure.axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        figures.append(figure)
    return figures


def alignment_curves(runs: Sequence[RankerRun]) -> list[Figure]:
    """Draw loss, odds ratio, margin and accuracy of the alignments against their steps, on both kinds of pairs."""
    splits: tuple[Split, ...] = (TRAIN, HELD_OUT)
    given = [(run, run.alignment, split) for run in runs if run.alignment for split in splits]
    figures = []
    for column, label, what in _ALIGNMENT if given else ():
        caption = f"Alignment: {what}, on training and held-out pairs."
        columns = ("ranker", "seed", "pairs", "step", column)
        with drawing(f"orpo-{column}", caption, columns, ("Steps of the optimizer", label)) as figure:
            for place, (run, curve, split) in enumerate(given):
                points = curve.against("step", column, split)
                figure.series(place, split if len(given) == len(splits) else f"{run.name}, {split}", points)
                figure.rows.extend((run.name, run.finetuned.seed, split, *point) for point in points)
            figure.axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        figures.append(figure)
    return figures


def _slug(run: RankerRun) -> str:
    facts = run.finetuned
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{facts.source} {facts.retriever} seed {facts.seed}").strip("-")
