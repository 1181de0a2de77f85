"""The report of an adapter study: a verdict in words, a table of every scale, loss curves and sensitivity."""

from statistics import fmean
from typing import Final

from ssm4rec.artifacts.curve import VALIDATION
from ssm4rec.report.document import Report, Section
from ssm4rec.report.figures import Figure, drawing, logarithmic
from ssm4rec.report.findings import order_section
from ssm4rec.report.markdown import escape, table
from ssm4rec.studies.adapters.study import LAST_PART, AdapterStudy, late

OURS: Final = "usgm"
RIVAL: Final = "adamw_torch"

_NOTES: Final = f"""\
- **Late loss** is the mean over the last {LAST_PART:.0%} of the prompts, nats per token of the answer (the letter and
  the end after it). Every prompt is new and seen once, before the step that learns from it: it is a loss on data
  not trained on. Trials are chosen by it; the ranking of some validation users is too coarse for that.
- **Letter** is the loss of the letter alone; guessing among 20 candidates costs 3.00.
- **Fair tuning.** Each optimizer had the same number of trials, over its peak learning rate or (USGM) the diameter of
  its ball in norms of the initial LoRA matrices. AdamW's rate rises and falls (warmup, then linear); USGM has none.
- **Intervals** are 95% Student's t over seeds, differences paired by seed; a single seed has none. A difference is
  significant if its interval excludes zero; otherwise its minimum detectable effect (MDE) is given: what such a test
  would find with a chance of 80%.
- Batches are fixed: the adaptive rules are compared in the optimizer study, on recommenders."""


def make_report(study: AdapterStudy) -> Report:
    """Return the report of the study."""
    sections = [
        Section("In short", verdict(study)),
        Section("What was reached", _table(study), (_losses(study), _sensitivity(study))),
        *order_section(study.manifest),
        Section("How to read this", _NOTES),
    ]
    title = f"Optimizers of an adapter: {study.source} on {study.dataset}"
    return Report(study.dataset, title, sections, study.results())


def verdict(study: AdapterStudy) -> str:
    """Say in words whether USGM trains the adapter better than AdamW, and how sure that is."""
    best = {name: study.best_scale(name) for name in study.optimizers}
    parts = [
        f"**{escape(name)}** at {scale:g} comes to a late loss of {study.late(name, scale).text()}."
        for name, scale in best.items()
    ]
    if OURS in best and RIVAL in best:
        difference = study.difference(OURS, RIVAL)
        higher, lower = (f"USGM trains this adapter significantly {side}" for side in ("worse", "better"))
        parts.append(f"USGM \N{MINUS SIGN} AdamW: {difference.stated()}: {difference.verdict(higher, lower)}.")
    edges = [name for name, scale in best.items() if scale in (study.scales(name)[0], study.scales(name)[-1])]
    if edges:
        parts.append(f"The best scale of {', '.join(edges)} was at the edge of what was tried: a wider sweep may help.")
    return " ".join(parts)


def _table(study: AdapterStudy) -> str:
    rows = []
    for optimizer in study.optimizers:
        for scale in study.scales(optimizer):
            trials = study.at(optimizer, scale)
            ndcg = [trial.values("ndcg@10", VALIDATION) for trial in trials]
            rows.append(
                [
                    optimizer,
                    f"{scale:g}",
                    study.late(optimizer, scale).text(),
                    f"{fmean(late(trial, 'letter_loss') for trial in trials):.3f}",
                    f"{fmean(values[0] for values in ndcg):.4f}",
                    f"{fmean(values[-1] for values in ndcg):.4f}",
                    str(len(trials)),
                ]
            )
    header = ["Optimizer", "Scale", "Late loss", "Letter", "Validation NDCG@10 before", "after", "Seeds"]
    prompts = study.trials[0].against("seen", "loss")[-1][0]
    batch = study.recipe["steps"]["batch"] * study.recipe["steps"]["accumulation"]
    return f"{prompts} prompts, {batch} per step.\n\n{table(header, rows)}"


def _losses(study: AdapterStudy) -> Figure:
    caption = (
        "Training loss at each optimizer's best scale, one line per seed; each point is the mean since the one before."
    )
    columns = ("optimizer", "scale", "seed", "prompts", "loss")
    labels = ("Prompts seen", "Loss, nats per token of the answer")
    with drawing("adapter-loss", caption, columns, labels) as figure:
        for place, optimizer in enumerate(study.optimizers):
            scale = study.best_scale(optimizer)
            trials = study.at(optimizer, scale)
            for trial in trials:
                curve = trial.against("seen", "loss")
                figure.series(place, f"{optimizer}, {scale:g}" if trial is trials[0] else None, curve)
                figure.rows.extend((optimizer, scale, trial.training.seed, *point) for point in curve)
    return figure


def _sensitivity(study: AdapterStudy) -> Figure:
    caption = "How much each optimizer depends on its scale; mean over seeds."
    labels = ("Learning rate; of USGM the diameter", "Late loss")
    with drawing("adapter-sensitivity", caption, ("optimizer", "scale", "late_loss"), labels) as figure:
        for place, optimizer in enumerate(study.optimizers):
            points = [(scale, study.late(optimizer, scale).value) for scale in study.scales(optimizer)]
            figure.series(place, optimizer, points)
            figure.rows.extend((optimizer, *point) for point in points)
        logarithmic(figure.axes, "x")
    return figure
