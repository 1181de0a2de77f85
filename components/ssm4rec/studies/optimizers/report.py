"""The report of an optimizer study: a verdict in words, tables with intervals, and curves."""

import itertools
from collections.abc import Callable, Sequence
from typing import Final

from matplotlib.ticker import MaxNLocator

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Curve, Split
from ssm4rec.report.figures import COLOURS, Cell, Figure, drawing, logarithmic
from ssm4rec.report.markdown import MISSING, escape, table
from ssm4rec.report.sections import Report, Section
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
    sections.append(Section("How to read this", _NOTES))
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


def _mean(curves: Sequence[Curve], value: Callable[[Curve], float]) -> float:
    return sum(map(value, curves)) / len(curves)


def _comparison(study: OptimizerStudy, model: str) -> str:
    rival = Method(model, RIVAL, "fixed")
    header = ["Optimizer", "Batches", "Scale", "Validation NDCG@10", f"Difference from {rival}"]
    header += ["Training loss", "Steps", "CPU-s", "Seeds"]
    rows = []
    for method in study.methods(model):
        curves = list(study.curves[method].values())
        difference = MISSING
        if rival in study.curves and method != rival:
            difference = study.difference(method, rival).text()
        rows.append(
            [
                method.optimizer,
                method.control,
                f"{study.scale(method):g}",
                study.reached(method).text(),
                difference,
                f"{_mean(curves, lambda curve: curve.values('loss')[-1]):.3f}",
                f"{_mean(curves, steps):,.0f}",
                f"{_mean(curves, lambda curve: curve.values('cpu_seconds')[-1]):,.0f}",
                str(len(curves)),
            ]
        )
    return table(header, rows, text_columns=2)


def _sweep(study: OptimizerStudy, model: str) -> str:
    rows = [
        [optimizer, f"{scale:g}", f"{best_ndcg(curve):.4f}", f"{curve.values('loss')[-1]:.3f}"]
        for (name, optimizer, scale), curve in sorted(study.trials.items())
        if name == model
    ]
    text = (
        "Seed 0, fixed batches. Scale: the peak learning rate; of USGM the diameter, in norms of the initial weights."
    )
    return f"{text}\n\n{table(['Optimizer', 'Scale', 'Validation NDCG@10', 'Training loss'], rows)}"


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


_NDCG: Final[tuple[str, Split]] = ("ndcg_10", VALIDATION)
_LOSS: Final[tuple[str, Split]] = ("loss", TRAIN)
_CALLED: Final = {
    "seen": ("targets_seen", "Targets seen, thousands"),
    "cpu_seconds": ("cpu_seconds", "CPU-seconds"),
    _NDCG: ("validation_ndcg_10", "Validation NDCG@10"),
    _LOSS: ("train_loss", "Training loss"),
}
"""Column and label of an axis or a number."""


def _against(study: OptimizerStudy, model: str, axis: str, number: tuple[str, Split], caption: str) -> Figure:
    (x, x_label), (y, y_label) = _CALLED[axis], _CALLED[number]
    points: list[tuple[Cell, ...]] = []
    with drawing(f"{model}-{x}-{y}") as figure:
        for method, colour in _shown(study, model).items():
            curves = [curve.against(axis, *number) for curve in study.curves[method].values()]
            epochs = [tuple(zip(*points_of, strict=True)) for points_of in zip(*curves, strict=False)]
            unit = 1000 if axis == "seen" else 1
            along = [sum(xs) / len(xs) for xs, _ in epochs]
            means, lowest, highest = (
                [sum(ys) / len(ys) for _, ys in epochs],
                [min(ys) for _, ys in epochs],
                [max(ys) for _, ys in epochs],
            )
            shown = [value / unit for value in along]
            figure.axes.plot(shown, means, color=colour, linewidth=1.2, label=str(method))
            figure.axes.fill_between(shown, lowest, highest, color=colour, alpha=0.15)
            points += [
                (method.optimizer, method.control, len(curves), epoch, *numbers)
                for epoch, numbers in enumerate(zip(along, means, lowest, highest, strict=True), start=1)
            ]
        figure.axes.set_xlabel(x_label)
        figure.axes.set_ylabel(y_label)
        figure.axes.legend(frameon=False, fontsize=8)
    columns = ("optimizer", "batch_control", "seeds", "epoch", f"{x}_mean", f"{y}_mean", f"{y}_lowest", f"{y}_highest")
    return figure.figure(caption, columns, points)


def _batch_sizes(study: OptimizerStudy, model: str) -> Figure:
    points: list[tuple[Cell, ...]] = []
    with drawing(f"{model}-batches") as figure:
        adaptive = [method for method in study.methods(model) if method.control != "fixed"]
        shown = [method for method in adaptive if method.optimizer in (RIVAL, "usgm")]
        for place, method in enumerate(shown):
            seed = min(study.curves[method])
            sizes = study.curves[method][seed].values("batch_targets")
            seen = list(itertools.accumulate(sizes))
            colour = COLOURS[place % len(COLOURS)]
            figure.axes.step(
                [total / 1000 for total in seen], sizes, where="pre", color=colour, linewidth=0.9, label=str(method)
            )
            points += [
                (method.optimizer, method.control, seed, step, *numbers)
                for step, numbers in enumerate(zip(seen, sizes, strict=True), start=1)
            ]
        logarithmic(figure.axes, "y")
        figure.axes.xaxis.set_major_locator(MaxNLocator(5))
        figure.axes.set_xlabel(_CALLED["seen"][1])
        figure.axes.set_ylabel("Targets of a step")
        if shown:
            figure.axes.legend(frameon=False, fontsize=8)
    columns = ("optimizer", "batch_control", "seed", "step", "targets_seen", "targets")
    return figure.figure("The size of every step's batch, in targets, of one seed.", columns, points)


def _sensitivity(study: OptimizerStudy, model: str) -> Figure:
    rows: list[tuple[Cell, ...]] = []
    with drawing(f"{model}-sensitivity") as figure:
        optimizers = sorted({optimizer for name, optimizer, _ in study.trials if name == model})
        for place, optimizer in enumerate(optimizers):
            points = sorted(
                (scale, best_ndcg(curve))
                for (name, its, scale), curve in study.trials.items()
                if (name, its) == (model, optimizer)
            )
            rows += [(optimizer, *point) for point in points]
            scales, reached = zip(*points, strict=True)
            figure.axes.plot(
                scales, reached, marker="o", markersize=3.5, color=COLOURS[place], linewidth=1.2, label=optimizer
            )
        logarithmic(figure.axes, "x")
        figure.axes.set_xlabel("Learning rate; of USGM the diameter")
        figure.axes.set_ylabel("Validation NDCG@10")
        figure.axes.legend(frameon=False)
    columns = ("optimizer", "scale", "validation_ndcg_10")
    return figure.figure("How much each optimizer depends on its scale.", columns, rows)
