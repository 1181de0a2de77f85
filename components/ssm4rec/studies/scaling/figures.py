"""The figures of a scaling study."""

import statistics
from collections import Counter
from typing import Any, Final

import numpy

from ssm4rec.report.figures import INK, Figure, cells, columns_of, drawing, logarithmic, style, whiskers
from ssm4rec.scaling.budget import best_size, isoflop
from ssm4rec.scaling.held_out import Extrapolation
from ssm4rec.scaling.law import Law
from ssm4rec.scaling.runs import Run
from ssm4rec.studies.scaling.study import ModelRuns, ScalingStudy
from ssm4rec.studies.scaling.transfer import LOSS, NDCG, Transfer

_LOSS: Final = "Test loss, nats per target"
_BUDGETS: Final = (0.5, 0.75, 1.0)
"""Of isoFLOP curves: quantiles of the runs' FLOPs."""


def against_data(study: ScalingStudy, one: ModelRuns) -> tuple[Figure, ...]:
    """Return a figure for each depth: the loss against data, a line per width."""
    depths = sorted({trained.run.depth for trained in one.trained})
    return tuple(_at_depth(study, one, depth) for depth in depths)


def _at_depth(study: ScalingStudy, one: ModelRuns, depth: int) -> Figure:
    floor = "" if study.floor is None else " Dotted: the known floor."
    runs = [trained.run for trained in one.trained if trained.run.depth == depth]
    seeds = max(Counter((run.width, run.data) for run in runs).values())
    averaged = f"means over up to {seeds} seeds" if seeds > 1 else "one seed"
    caption = f"{one.model}, depth {depth}: test loss against training events; {averaged}.{floor}"
    columns = ("width", "depth", "events", "runs", "nll_mean")
    with drawing(f"{one.model}-depth{depth}-data", caption, columns, ("Training events", _LOSS)) as figure:
        losses: dict[int, dict[int, list[float]]] = {}
        for run in runs:
            losses.setdefault(run.width, {}).setdefault(run.data, []).append(run.loss)
        for place, (width, by_data) in enumerate(sorted(losses.items())):
            means = [(data, statistics.fmean(found)) for data, found in sorted(by_data.items())]
            figure.series(place, f"width {width}", means)
            figure.rows.extend((width, depth, data, len(by_data[data]), mean) for data, mean in means)
        if study.floor is not None:
            figure.axes.axhline(study.floor, color=INK, linestyle=":", linewidth=1)
        logarithmic(figure.axes, "x")
    return figure


def largest_runs(model: str, found: Extrapolation) -> Figure:
    """Return measured against predicted loss of the runs held out; on the diagonal they are equal."""
    caption = (
        f"{model}: the largest runs, measured against predicted by the law in {found.form.name} of the others, with "
        "90% prediction intervals. On the line the two are equal."
    )
    columns = ("width", "depth", "events", "seed", "measured", "predicted", "low", "high")
    with drawing(f"{model}-largest", caption, columns, ("Measured loss, nats", "Predicted loss, nats")) as figure:
        look = {**style(0), "linestyle": "none"}
        measured = [run.loss for run in found.runs]
        predicted = [one.value for one in found.predictions]
        figure.axes.errorbar(measured, predicted, yerr=whiskers(found.predictions), capsize=2, **look)
        ends = [min(measured), max(measured)]
        figure.axes.plot(ends, ends, color=INK, linewidth=1)
        for run, one in zip(found.runs, found.predictions, strict=True):
            figure.rows.append((run.width, run.depth, run.data, run.seed, run.loss, *cells(one)))
    return figure


def isoflops(one: ModelRuns, law: Law) -> tuple[Figure, ...]:
    """Return the isoFLOP curves: the expected loss against parameters; a star is the best size of a budget.

    A line joins the sizes of one depth. Sizes whose budget buys more data than any run had are hollow: nothing of
    theirs was measured.
    """
    sizes: dict[tuple[int, int], Run] = {}
    for trained in one.trained:
        run = trained.run
        key = run.width, run.depth
        sizes[key] = max(sizes.get(key, run), run, key=lambda size: size.data)
    budgets = numpy.quantile([trained.run.flops for trained in one.trained], _BUDGETS)
    most_data = max(trained.run.data for trained in one.trained)
    caption = (
        f"{one.model}: the loss to expect for a budget of FLOPs, by the size that it is spent on; a line joins sizes "
        "of one depth; star: the best; hollow: with more data than any run had."
    )
    columns = ("flops", "width", "depth", "parameters", "events", "loss", "low", "high")
    labels = ("Parameters without embeddings", _LOSS)
    with drawing(f"{one.model}-isoflop", caption, columns, labels) as figure:
        for place, budget in enumerate(budgets):
            curve = sorted(isoflop(law, float(budget), list(sizes.values())), key=lambda pair: pair[0].parameters)
            if not curve:
                continue
            for number, depth in enumerate(sorted({size.depth for size, _ in curve})):
                points = [(size.parameters, size.loss) for size, _ in curve if size.depth == depth]
                figure.series(place, None if number else f"{budget / 1e9:.3g} GFLOPs", points)
            hollow: dict[str, Any] = {"markerfacecolor": "white", "zorder": 3}
            beyond = [(size.parameters, size.loss) for size, _ in curve if size.data > most_data]
            figure.axes.plot(*columns_of(beyond), **{**style(place), "linestyle": "none", **hollow})
            best = best_size(curve)
            mark = {**style(place), "marker": "*", "markersize": 12, "linestyle": "none"}
            figure.axes.plot([best.parameters], [best.loss], **mark | (hollow if best.data > most_data else {}))
            for size, estimate in curve:
                figure.rows.append(
                    (float(budget), size.width, size.depth, size.parameters, size.data, *cells(estimate))
                )
        logarithmic(figure.axes, "x")
    return (figure,)


def transfers(transfer: Transfer) -> tuple[Figure, ...]:
    """Return NDCG@10 and the loss against the target's users, from scratch and fine-tuned."""
    found = []
    seeds = len(transfer.sizes[0].scratch)
    for measure, label in ((NDCG, "Test NDCG@10"), (LOSS, _LOSS)):
        floor = transfer.floor if measure == LOSS else None
        dotted = "" if floor is None else " Dotted: the known floor."
        caption = (
            f"{transfer.model} on {transfer.target}, from scratch and pre-trained on {transfer.source}: {label} by "
            f"users trained on; means over {seeds} seeds with 95% intervals.{dotted}"
        )
        columns = ("start", "users", "events", "seeds", "mean", "low", "high")
        name = f"transfer-{measure.name.replace('@', '-')}"
        with drawing(name, caption, columns, (f"Users of {transfer.target}", label)) as figure:
            for place, (arm, start) in enumerate((("scratch", "from scratch"), ("finetuned", "pre-trained"))):
                means = [size.mean(arm, measure) for size in transfer.sizes]
                users = [size.users for size in transfer.sizes]
                reach = whiskers(means) if all(one.has_interval for one in means) else None
                figure.series(place, start, zip(users, (one.value for one in means), strict=True), reach)
                for size, one in zip(transfer.sizes, means, strict=True):
                    bounds = (one.low, one.high) if one.has_interval else (None, None)
                    figure.rows.append((start, size.users, size.events, one.n, one.value, *bounds))
            if floor is not None:
                figure.axes.axhline(floor, color=INK, linestyle=":", linewidth=1)
            logarithmic(figure.axes, "x")
        found.append(figure)
    return tuple(found)
