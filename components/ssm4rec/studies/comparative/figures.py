"""The figures that only a comparative study's report has: learning curves, and HIT@10 against latency."""

from matplotlib.ticker import MaxNLocator

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Split
from ssm4rec.artifacts.names import UNMASKED
from ssm4rec.report.figures import INK, Figure, cells, columns_of, drawing, logarithmic, style, whiskers
from ssm4rec.report.latency_sections import MILLI
from ssm4rec.report.markdown import plural
from ssm4rec.report.measurements import Latency
from ssm4rec.report.paper import PAPER
from ssm4rec.studies.comparative.study import Study


def learning_curves(study: Study) -> tuple[Figure, ...]:
    """Return validation NDCG@10 and training loss against the epoch; a colour and marker per model, a line per seed."""
    if not study.curves:
        return ()
    ndcg = "Validation NDCG@10 with the history unmasked, against the epoch; one line per seed."
    loss = "Training loss (mean cross-entropy per target, nats) against the epoch; one line per seed."
    return (
        _curves(study, ("ndcg@10", VALIDATION), ("validation_ndcg@10", "Validation NDCG@10"), ndcg),
        _curves(study, ("loss", TRAIN), ("train_loss", "Training loss"), loss),
    )


def _curves(study: Study, number: tuple[str, Split], named: tuple[str, str], caption: str) -> Figure:
    column, label = named
    with drawing(column.partition("@")[0], caption, ("model", "seed", "epoch", column), ("Epoch", label)) as figure:
        models = list(study.models)
        labelled = set()
        for (model, seed), curve in study.curves.items():
            points = [(int(epoch), value) for epoch, value in curve.against("epoch", *number)]
            look = style(models.index(model)) | {"markersize": 3, "markevery": max(1, len(points) // 10)}
            figure.axes.plot(*columns_of(points), label=None if model in labelled else model, **look)
            labelled.add(model)
            figure.rows.extend((model, seed, *point) for point in points)
        figure.axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def against_hits(study: Study, latency: Latency, batch: int) -> Figure:
    """Return HIT@10 against latency, a point a model; error bars both ways where both intervals are known."""
    as_there = ", as in the paper's Appendix B" if study.manifest["dataset"] in PAPER else ""
    caption = (
        f"HIT@10 against latency (logarithmic){as_there}; {plural(batch, 'user')} per request, "
        "outliers left out, whole history read. Bars: 95% over samples, and over users where the models were compared. "
        "Better is left and up."
    )
    columns = ("model", "batch", "latency_ms", "latency_low", "latency_high", "hit@10", "hit_low", "hit_high")
    labels = ("Latency, milliseconds per user", "HIT@10, history unmasked")
    with drawing(f"hit-against-latency-{batch}", caption, columns, labels, legend_columns=3) as figure:
        for place, model in enumerate(study.models):
            if (result := latency.of_model(model, batch)) is None:
                continue
            hit, time = study.estimate(model, UNMASKED, "hit@10"), result.mean_without_outliers
            look = style(place) | {"linestyle": "none", "markersize": 7, "capsize": 2, "label": model}
            reaches = whiskers([time], MILLI), whiskers([hit])
            figure.axes.errorbar([time.value * MILLI], [hit.value], xerr=reaches[0], yerr=reaches[1], **look)
            figure.rows.append((model, batch, *cells(time, MILLI), *cells(hit)))
        figure.axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
        if figure.rows:
            logarithmic(figure.axes, "x")
    return figure
