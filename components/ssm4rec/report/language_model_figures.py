"""Figures of LlamaRec: before and after ORPO, liking for letters, and how fine-tuning and alignment went."""

import re
from collections.abc import Sequence
from typing import Final

from matplotlib.ticker import MaxNLocator, PercentFormatter

from ssm4rec.artifacts.curve import HELD_OUT, TRAIN, VALIDATION, Split
from ssm4rec.artifacts.names import METRICS, metric_name
from ssm4rec.artifacts.rankings import AMONG_CANDIDATES, ORDERS, SHUFFLED_ORDER
from ssm4rec.report.figures import COLOURS, HATCHES, INK, Figure, columns_of, drawing, style, whiskers
from ssm4rec.report.language_models import ORDER_NAMES, RANKER_NAMES, RANKERS, RankerRun

_ALIGNMENT: Final = (
    ("loss", "Loss, nats", "ORPO's loss (equation 5)"),
    ("log_odds_ratio", "Log odds ratio", "log of the odds ratio of winner and loser; above 0 the winner is preferred"),
    ("margin", "Margin", "margin, beta times the difference of the two log-likelihoods"),
    ("accuracy", "Accuracy", "share of pairs whose winner is more probable"),
)
_PAIRS: Final[tuple[Split, ...]] = (TRAIN, HELD_OUT)
_TUNING: Final[tuple[tuple[str, tuple[str, Split], str, str], ...]] = (
    (
        "letter_loss",
        ("letter_loss", TRAIN),
        "Loss of the letter, nats",
        "Fine-tuning: loss of the right letter against the prompts seen; guessing among 20 is 3.00.",
    ),
    (
        "validation_ndcg_10",
        ("ndcg_10", VALIDATION),
        "Validation NDCG@10",
        "Fine-tuning: NDCG@10 of validation users, among their candidates, shuffled, against the prompts seen.",
    ),
)


def before_and_after(run: RankerRun) -> tuple[Figure, ...]:
    """Return bars of HIT, NDCG and MRR at 10 with 95% intervals, as the paper's Figures 1 and 2; one an order."""
    figures = []
    for order in ORDERS:
        numbers = []
        name = f"llamarec-{_slug(run)}-{order}"
        with drawing(name, height=4.2) as made:
            width = 0.8 / len(run.rankers)
            for place, ranker in enumerate(run.rankers):
                rows = [run.row(ranker, order, AMONG_CANDIDATES, metric_name(metric, 10)) for metric in METRICS]
                found = [run.estimate(row) for row in rows]
                kind = RANKERS.index(ranker)
                made.axes.bar(
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
                numbers += [
                    (ranker, row.metric, row.value, row.standard_error, one.low, one.high)
                    for row, one in zip(rows, found, strict=True)
                ]
            made.axes.set_xticks(range(len(METRICS)), [f"{metric.upper()}@10" for metric in METRICS])
            made.axes.set_ylim(bottom=0)
            made.canvas.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
        caption = (
            f"Before and after ORPO, as the paper's Figures 1 and 2: {run.finetuned.ranked:,} users whose target is "
            f"among the candidates, candidates {ORDER_NAMES[order]}; whiskers are 95% intervals over users."
        )
        columns = ("ranker", "metric", "value", "standard_error", "low", "high")
        figures.append(made.figure(caption, columns, numbers))
    return tuple(figures)


def first_places(run: RankerRun) -> tuple[Figure, ...]:
    """Return how often each letter comes first with shuffled candidates: what a model prefers about the letters."""
    numbers = []
    with drawing(f"letters-{_slug(run)}") as made:
        for place, state in enumerate(run.states):
            counts = run.first_place_counts(state, SHUFFLED_ORDER)
            letters = [chr(ord("A") + at) for at in range(len(counts))]
            shares = [count / sum(counts) for count in counts]
            made.axes.plot(letters, shares, label=RANKER_NAMES[state], **style(place))
            numbers += list(zip([state] * len(counts), letters, counts, shares, strict=True))
        expected = 1 / run.finetuned.candidates
        made.axes.axhline(expected, color=INK, linewidth=0.8, alpha=0.6)
        made.axes.set_ylim(bottom=0)
        made.axes.set_xlabel("Letter of the candidate ranked first")
        made.axes.set_ylabel("Share of prompts")
        made.axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        made.axes.legend(frameon=False, fontsize=9)
    caption = f"Liking for letters, candidates shuffled; the thin line is no liking, {expected:.0%}."
    return (made.figure(caption, ("state", "letter", "prompts", "share"), numbers),)


def tuning_curves(runs: Sequence[RankerRun]) -> tuple[Figure, ...]:
    """Return loss and validation NDCG@10 of the fine-tunings against the prompts they have seen."""
    given = [(run, run.tuning) for run in runs if run.tuning]
    if not given:
        return ()
    figures = []
    for column, number, label, caption in _TUNING:
        numbers = []
        with drawing(f"fine-tuning-{column}") as made:
            for place, (run, curve) in enumerate(given):
                points = curve.against("seen", *number)
                made.axes.plot(*columns_of(points), label=run.name, **style(place))
                numbers += [(run.name, run.finetuned.seed, *point) for point in points]
            made.axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            made.axes.set_xlabel("Training prompts seen")
            made.axes.set_ylabel(label)
            made.axes.legend(frameon=False, fontsize=9)
        figures.append(made.figure(caption, ("ranker", "seed", "prompts", column), numbers))
    return tuple(figures)


def alignment_curves(runs: Sequence[RankerRun]) -> tuple[Figure, ...]:
    """Return loss, odds ratio, margin and accuracy of the alignments against their steps, on both kinds of pairs."""
    given = [(run, run.alignment, split) for run in runs if run.alignment for split in _PAIRS]
    if not given:
        return ()
    figures = []
    for column, label, caption in _ALIGNMENT:
        numbers = []
        with drawing(f"orpo-{column}") as made:
            for place, (run, curve, split) in enumerate(given):
                points = curve.against("step", column, split)
                name = split if len(given) == len(_PAIRS) else f"{run.name}, {split}"
                made.axes.plot(*columns_of(points), label=name, **style(place))
                numbers += [(run.name, run.finetuned.seed, split, *point) for point in points]
            made.axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            made.axes.set_xlabel("Steps of the optimizer")
            made.axes.set_ylabel(label)
            made.axes.legend(frameon=False, fontsize=9)
        columns = ("ranker", "seed", "pairs", "step", column)
        figures.append(made.figure(f"Alignment: {caption}, on training and held-out pairs.", columns, numbers))
    return tuple(figures)


def _slug(run: RankerRun) -> str:
    """Return a ranker's name as part of a file's name."""
    facts = run.finetuned
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{facts.source} {facts.retriever} seed {facts.seed}").strip("-")
