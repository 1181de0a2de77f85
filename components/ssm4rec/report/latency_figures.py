"""Figures of latency: HIT@10 against it as in the paper's Appendix B, its spread over samples, its growth with L."""

from typing import Final

from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.artifacts.latency import LatencyResult
from ssm4rec.report.figures import INK, Cell, Figure, drawing, logarithmic, style, whiskers
from ssm4rec.report.measurements import FULL, MODE_NAMES, Latency

MILLI: Final = 1000


def estimate_cells(estimate: Estimate, scale: float = 1.0) -> tuple[float, float, float]:
    """Return an estimate and its interval as cells of a figure's numbers."""
    return (estimate.value * scale, estimate.low * scale, estimate.high * scale)


def spreads(latency: Latency) -> tuple[Figure, ...]:
    """Return each model's samples at the largest batch, outliers marked; none where samples were not given."""
    if not latency.samples:
        return ()
    batch = latency.batches[0]
    rows = sorted(
        (row for row in latency.samples if (row.kind, row.mode, row.batch) == ("users", FULL, batch)),
        key=lambda row: (row.model, row.seed, row.sample),
    )
    names = list(dict.fromkeys(f"{row.model} seed {row.seed}" for row in rows))
    with drawing("latency-samples", height=1.2 + 0.4 * len(names)) as made:
        for place, name in enumerate(names):
            own = [row for row in rows if f"{row.model} seed {row.seed}" == name]
            for outlier, marker in ((False, "o"), (True, "x")):
                times = [row.total_seconds / row.users * MILLI for row in own if row.outlier == outlier]
                made.axes.plot(
                    times, [place] * len(times), marker, color=style(place)["color"], alpha=0.6, markersize=4
                )
        logarithmic(made.axes, "x")
        made.axes.set_yticks(range(len(names)), names)
        made.axes.set_ylim(-0.5, len(names) - 0.5)
        made.axes.invert_yaxis()
        made.axes.set_xlabel("Milliseconds per user")
    caption = f"Every sample's time per user, {batch:,} users per request, whole history read; crosses are outliers."
    numbers = [
        (row.model, row.seed, row.sample, row.total_seconds / row.users * MILLI, str(row.outlier)) for row in rows
    ]
    return (made.figure(caption, ("model", "seed", "sample", "milliseconds", "outlier"), numbers),)


def against_length(latency: Latency) -> tuple[Figure, ...]:
    """Return the median cost of one user against the length of the history, one figure per way of reading it."""
    figures = []
    for mode, words in MODE_NAMES.items():
        curves = latency.of_lengths(mode)
        if not curves:
            continue
        numbers: list[tuple[Cell, ...]] = []
        with drawing(f"cost-against-length-{mode}", height=4.0) as made:
            for place, (model, curve) in enumerate(curves.items()):
                medians = [result.median for result in curve]
                values = [median.value * MILLI for median in medians]
                lengths = [result.length or 0 for result in curve]
                reach = whiskers(medians, MILLI)
                made.axes.errorbar(lengths, values, yerr=reach, capsize=2, label=model, **style(place))
                numbers += [_point(result) for result in curve]
            logarithmic(made.axes, "x", "y")
            for crossing in latency.summary.crossings:
                if (crossing.mode, crossing.histories) == (mode, "generated"):
                    for length in crossing.cheaper_from:
                        made.axes.axvline(length, color=INK, linewidth=0.6, alpha=0.5, linestyle=":")
            made.axes.set_xlabel("Items in the history, L")
            made.axes.set_ylabel("Milliseconds per user")
            made.axes.legend(frameon=False, fontsize=9)
        caption = (
            f"Cost of one user against the length of a generated history, {words}: medians with 95% intervals, both "
            "axes logarithmic; dotted lines where a model gets cheaper than SASRec."
        )
        columns = ("model", "weights", "length", "median_ms", "low", "high")
        figures.append(made.figure(caption, columns, numbers))
    return tuple(figures)


def _point(result: LatencyResult) -> tuple[Cell, ...]:
    return (result.model, result.weights, result.length, *estimate_cells(result.median, MILLI))
