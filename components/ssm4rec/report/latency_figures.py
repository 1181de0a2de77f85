"""Figures of latency: HIT@10 against it as in the paper's Appendix B, its spread over samples, its growth with L."""

import statistics
from typing import Final

from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.artifacts.latency import LatencyResult
from ssm4rec.artifacts.names import UNMASKED
from ssm4rec.report.comparison_sections import model_row
from ssm4rec.report.figures import INK, Cell, Figure, drawing, logarithmic, style, whiskers
from ssm4rec.report.measurements import FULL, MODE_NAMES, Latency
from ssm4rec.report.study import Study

_MILLI: Final = 1000


def against_hits(study: Study, latency: Latency, batch: int) -> Figure:
    """Return HIT@10 against latency, a point a model; error bars both ways where both intervals are known."""
    numbers: list[tuple[Cell, ...]] = []
    with drawing(f"hit-against-latency-{batch}") as made:
        for place, model in enumerate(study.models):
            result = latency.of_model(model, batch)
            if result is None:
                continue
            hit, time = _hit(study, model), result.mean_without_outliers
            look = style(place) | {"linestyle": "none", "markersize": 7}
            made.axes.errorbar(
                [time.value * _MILLI],
                [hit.value],
                xerr=whiskers([time], _MILLI),
                yerr=whiskers([hit]),
                capsize=2,
                label=model,
                **look,
            )
            numbers.append((model, batch, *_cells(time, _MILLI), *_cells(hit)))
        made.axes.set_xlabel("Latency, milliseconds per user")
        made.axes.set_ylabel("HIT@10, history unmasked")
        made.axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
        if numbers:
            logarithmic(made.axes, "x")
            made.canvas.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)  # whiskers are anywhere
    users = "user" if batch == 1 else "users"
    caption = (
        f"HIT@10 against latency (logarithmic), as in the paper's Appendix B; {batch:,} {users} per request, outliers "
        "left out, whole history read. Bars: 95% over samples, and over users where the models were compared. Better "
        "is left and up."
    )
    columns = ("model", "batch", "latency_ms", "latency_low", "latency_high", "hit@10", "hit_low", "hit_high")
    return made.figure(caption, columns, numbers)


def _cells(estimate: Estimate, scale: float = 1.0) -> tuple[float, float, float]:
    return (estimate.value * scale, estimate.low * scale, estimate.high * scale)


def _hit(study: Study, model: str) -> Estimate:
    """Return a model's HIT@10 with its interval, which is the value alone where there is none."""
    row = model_row(study.comparison, model, UNMASKED, "hit@10") if study.comparison else None
    if row is None:
        values = study.values(model, study.split, UNMASKED, "hit@10")
        mean = statistics.mean(values)
        return Estimate(mean, mean, mean, len(values))
    return row.mean


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
                times = [row.total_seconds / row.users * _MILLI for row in own if row.outlier == outlier]
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
        (row.model, row.seed, row.sample, row.total_seconds / row.users * _MILLI, str(row.outlier)) for row in rows
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
                values = [median.value * _MILLI for median in medians]
                lengths = [result.length or 0 for result in curve]
                reach = whiskers(medians, _MILLI)
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
    return (result.model, result.weights, result.length, *_cells(result.median, _MILLI))
