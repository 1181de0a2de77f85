"""The report of an optimizer study: a verdict in words, tables with intervals, and curves."""

import itertools
import statistics
from collections.abc import Callable
from typing import Final

from matplotlib.ticker import MaxNLocator

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Curve, Split
from ssm4rec.report.document import Report, Section
from ssm4rec.report.figures import COLOURS, Figure, columns_of, drawing, logarithmic, style
from ssm4rec.report.findings import order_section
from ssm4rec.report.markdown import MISSING, escape, table, table_of
from ssm4rec.studies.optimizers.study import Method, OptimizerStudy, best_ndcg, steps

RIVAL: Final = "adam"
"""What the paper compares USGM with, with fixed batches."""

_NOTES: Final = """\
- **Fair tuning.** Every optimizer had the same number of trials, over its learning rate or (USGM) its diameter, with
  fixed batches on seed 0; the best by validation NDCG@10 went into the comparison. Other settings are the same for
  all, but that only AdamW has weight decay.
- **NDCG@10** is that of validation, history unmasked, and the best after any epoch, for every method alike. There is
  no test set in this study: it compares trainings.
- **Intervals** are 95% Student's t over seeds; a difference is paired by seed, and significant if its interval excludes
  zero. MDE is the minimum detectable effect: what such a test would find with a chance of 80%. With three seeds the
  intervals are wide, and they say nothing about other data.
- **The x axis** is targets seen or CPU-seconds, never steps: with larger batches a step is more work.
- **paper** fits the Bregman distance beta on 1 / sqrt(B), as section 3.6 has it; **inverse** on 1 / B, which is how its
  noise falls; **noise-scale** follows McCandlish et al. (2018). `ssm4rec/optim/batch_size.py` has the readings of
  unclear sentences."""


def make_report(study: OptimizerStudy) -> Report:
    """Return the report of the study."""
    sections = [Section("In short", "\n".join(f"- {verdict(study, model)}" for model in study.models))]
    for model in study.models:
        sections += [
            Section(f"{model}: what was reached", _comparison(study, model), _curves(study, model)),
            Section(f"{model}: how it was tuned", _sweep(study, model), (_sensitivity(study, model),)),
        ]
    sections += [*order_section(study.manifest), Section("How to read this", _NOTES)]
    return Report(study.dataset, f"Optimizers and batch sizes on {study.dataset}", sections, study.results())


def verdict(study: OptimizerStudy, model: str) -> str:
    """Say in words whether USGM with adaptive batches beats Adam on a model, and how sure that is."""
    rival, ours = Method(model, RIVAL, "fixed"), Method(model, "usgm", "paper")
    methods = study.methods(model)
    best = max(methods, key=lambda method: study.reached(method).value)
    parts = [f"**{escape(model)}**: best is {best} with {study.reached(best).text()}."]
    if rival in methods and ours in methods:
        difference = study.difference(ours, rival)
        claim = "USGM with the paper's batches is significantly {} than Adam here"
        judged = difference.verdict(claim.format("better"), claim.format("worse"))
        parts.append(
            f"The paper's claim, USGM with its adaptive batches against Adam: {study.reached(ours).text()} against "
            f"{study.reached(rival).text()}, difference {difference.stated()}: {judged}."
        )
    if at_edge := [method for method in methods if method.control == "fixed" and study.scale_is_at_an_edge(method)]:
        names = ", ".join(method.optimizer for method in at_edge)
        parts.append(
            f"The best scale of {names} was at the edge of what was tried: a wider sweep may find a better one."
        )
    return " ".join(parts)


def _comparison(study: OptimizerStudy, model: str) -> str:
    rival = Method(model, RIVAL, "fixed")

    def mean(method: Method, value: Callable[[Curve], float]) -> float:
        return statistics.fmean(map(value, study.curves[method].values()))

    def difference(method: Method) -> str:
        other = rival in study.curves and method != rival
        return study.difference(method, rival).text() if other else MISSING

    columns: dict[str, Callable[[Method], str]] = {
        "Optimizer": lambda method: method.optimizer,
        "Batches": lambda method: method.control,
        "Scale": lambda method: f"{study.scale(method):g}",
        "Validation NDCG@10": lambda method: study.reached(method).text(),
        f"Difference from {rival}": difference,
        "Training loss": lambda method: f"{mean(method, lambda curve: curve.values('loss')[-1]):.3f}",
        "Steps": lambda method: f"{mean(method, steps):,.0f}",
        "CPU-s": lambda method: f"{mean(method, lambda curve: curve.values('cpu_seconds')[-1]):,.0f}",
        "Seeds": lambda method: str(len(study.curves[method])),
    }
    return table_of(study.methods(model), columns, text_columns=2)


def _sweep(study: OptimizerStudy, model: str) -> str:
    rows = [
        [optimizer, f"{scale:g}", f"{best_ndcg(curve):.4f}", f"{curve.values('loss')[-1]:.3f}"]
        for (name, optimizer, scale), curve in sorted(study.trials.items())
        if name == model
    ]
    found = table(["Optimizer", "Scale", "Validation NDCG@10", "Training loss"], rows)
    return (
        "Seed 0, fixed batches. Scale: the peak learning rate; of USGM the diameter, in norms of the initial weights."
        f"\n\n{found}"
    )


def _shown(study: OptimizerStudy, model: str) -> dict[Method, str]:
    """Return the methods that fit into one figure, with their colours: all plain, and USGM with all batches."""
    methods = [method for method in study.methods(model) if method.control == "fixed" or method.optimizer == "usgm"]
    return {method: COLOURS[place % len(COLOURS)] for place, method in enumerate(methods)}


def _curves(study: OptimizerStudy, model: str) -> tuple[Figure, ...]:
    over = "; line: mean over seeds, band: their range."
    return (
        _against(study, model, "seen", _NDCG, f"Validation NDCG@10 against targets seen{over}"),
        _against(study, model, "seen", _LOSS, f"Training loss against targets seen{over}"),
        _against(study, model, "cpu_seconds", _NDCG, f"Validation NDCG@10 against CPU-seconds{over}"),
        _batch_sizes(study, model),
    )


_NDCG: Final[tuple[str, Split]] = ("ndcg@10", VALIDATION)
_LOSS: Final[tuple[str, Split]] = ("loss", TRAIN)
_CALLED: Final = {
    "seen": ("targets_seen", "Targets seen, thousands"),
    "cpu_seconds": ("cpu_seconds", "CPU-seconds"),
    _NDCG: ("validation_ndcg@10", "Validation NDCG@10"),
    _LOSS: ("train_loss", "Training loss"),
}
"""Column and label of an axis or a number."""


def _against(study: OptimizerStudy, model: str, axis: str, number: tuple[str, Split], caption: str) -> Figure:
    (x, x_label), (y, y_label) = _CALLED[axis], _CALLED[number]
    unit = 1000 if axis == "seen" else 1
    columns = ("optimizer", "batch_control", "seeds", "epoch", f"{x}_mean", f"{y}_mean", f"{y}_lowest", f"{y}_highest")
    with drawing(f"{model}-{x}-{y.partition('@')[0]}", caption, columns, (x_label, y_label)) as figure:
        for method, colour in _shown(study, model).items():
            curves = [curve.against(axis, *number) for curve in study.curves[method].values()]
            epochs = [tuple(zip(*of_seeds, strict=True)) for of_seeds in zip(*curves, strict=False)]
            along = [sum(xs) / len(xs) for xs, _ in epochs]
            means = [sum(ys) / len(ys) for _, ys in epochs]
            lowest, highest = ([extreme(ys) for _, ys in epochs] for extreme in (min, max))
            shown = [value / unit for value in along]
            figure.axes.plot(shown, means, color=colour, linewidth=1.2, label=str(method))
            figure.axes.fill_between(shown, lowest, highest, color=colour, alpha=0.15)
            for epoch, numbers in enumerate(zip(along, means, lowest, highest, strict=True), start=1):
                figure.rows.append((method.optimizer, method.control, len(curves), epoch, *numbers))
    return figure


def _batch_sizes(study: OptimizerStudy, model: str) -> Figure:
    caption = "The size of every step's batch, in targets, of one seed."
    columns = ("optimizer", "batch_control", "seed", "step", "targets_seen", "targets")
    labels = (_CALLED["seen"][1], "Targets of a step")
    adaptive = [method for method in study.methods(model) if method.control != "fixed"]
    with drawing(f"{model}-batches", caption, columns, labels) as figure:
        for place, method in enumerate(method for method in adaptive if method.optimizer in (RIVAL, "usgm")):
            seed = min(study.curves[method])
            sizes = study.curves[method][seed].values("batch_targets")
            seen = list(itertools.accumulate(sizes))
            thousands, colour = [total / 1000 for total in seen], COLOURS[place % len(COLOURS)]
            figure.axes.step(thousands, sizes, where="pre", color=colour, linewidth=0.9, label=str(method))
            for step, numbers in enumerate(zip(seen, sizes, strict=True), start=1):
                figure.rows.append((method.optimizer, method.control, seed, step, *numbers))
        logarithmic(figure.axes, "y")
        figure.axes.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def _sensitivity(study: OptimizerStudy, model: str) -> Figure:
    columns = ("optimizer", "scale", "validation_ndcg@10")
    labels = ("Learning rate; of USGM the diameter", "Validation NDCG@10")
    caption = "How much each optimizer depends on its scale."
    trials: dict[str, list[tuple[float, float]]] = {}
    for (name, optimizer, scale), curve in sorted(study.trials.items()):
        if name == model:
            trials.setdefault(optimizer, []).append((scale, best_ndcg(curve)))
    with drawing(f"{model}-sensitivity", caption, columns, labels) as figure:
        for place, (optimizer, points) in enumerate(trials.items()):
            look = style(place) | {"marker": "o", "markersize": 3.5, "linestyle": "-"}
            figure.axes.plot(*columns_of(points), label=optimizer, **look)
            figure.rows.extend((optimizer, *point) for point in points)
        logarithmic(figure.axes, "x")
    return figure
