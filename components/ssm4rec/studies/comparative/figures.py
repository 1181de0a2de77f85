"""The figures that only a comparative study's report has: learning curves, and HIT@10 against latency."""

import statistics

from matplotlib.ticker import MaxNLocator

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Split
from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.artifacts.names import UNMASKED
from ssm4rec.report.comparison_sections import model_row
from ssm4rec.report.figures import INK, Cell, Figure, columns_of, drawing, logarithmic, style, whiskers
from ssm4rec.report.latency_figures import MILLI, estimate_cells
from ssm4rec.report.measurements import Latency
from ssm4rec.studies.comparative.study import Study


def learning_curves(study: Study) -> tuple[Figure, ...]:
    """Return validation NDCG@10 and training loss against the epoch; a colour and marker per model, a line per seed."""
    if not study.curves:
        return ()
    return (
        _curves(
            study,
            ("ndcg_10", VALIDATION),
            ("validation_ndcg_10", "Validation NDCG@10"),
            "Validation NDCG@10 with the history unmasked, against the epoch; one line per seed.",
        ),
        _curves(
            study,
            ("loss", TRAIN),
            ("train_loss", "Training loss"),
            "Training loss (mean cross-entropy per target, nats) against the epoch; one line per seed.",
        ),
    )


def _curves(study: Study, number: tuple[str, Split], named: tuple[str, str], caption: str) -> Figure:
    """Draw a number, by name and split, called by its column and its label."""
    column, label = named
    numbers: list[tuple[Cell, ...]] = []
    with drawing(column) as made:
        axes = made.axes
        places = {model: place for place, model in enumerate(study.models)}
        handles = {}
        for (model, seed), curve in study.curves.items():
            points = [(int(epoch), value) for epoch, value in curve.against("epoch", *number)]
            look = style(places[model]) | {"markersize": 3, "markevery": max(1, len(points) // 10)}
            (handles[model],) = axes.plot(*columns_of(points), **look)
            numbers += [(model, seed, *point) for point in points]
        axes.set_xlabel("Epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(list(handles.values()), list(handles), frameon=False)
    return made.figure(caption, ("model", "seed", "epoch", column), numbers)


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
                [time.value * MILLI],
                [hit.value],
                xerr=whiskers([time], MILLI),
                yerr=whiskers([hit]),
                capsize=2,
                label=model,
                **look,
            )
            numbers.append((model, batch, *estimate_cells(time, MILLI), *estimate_cells(hit)))
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


def _hit(study: Study, model: str) -> Estimate:
    """Return a model's HIT@10 with its interval, which is the value alone where there is none."""
    row = model_row(study.comparison, model, UNMASKED, "hit@10") if study.comparison else None
    if row is None:
        values = study.values(model, study.split, UNMASKED, "hit@10")
        mean = statistics.mean(values)
        return Estimate(mean, mean, mean, len(values))
    return row.mean
