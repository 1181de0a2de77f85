"""The figures of the report, as SVG to stand inside an HTML page."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from ssm4rec.report.study import Study

# Okabe and Ito's colours: told apart by colour-blind readers, visible on white and on black.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c")

# Matplotlib has no name for "the colour of the text around it"; this one stands for it until the SVG is text.
_INK: Final = "#010203"

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 11,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}


@dataclass(frozen=True)
class Figure:
    """A figure and its caption in plain text."""

    caption: str
    svg: str


def learning_curves(study: Study) -> tuple[Figure, ...]:
    """Return validation NDCG@10 and training loss against the epoch; a colour a model, a thin line a seed."""
    if not study.histories:
        return ()
    return (
        Figure(
            "Validation NDCG@10 with the history unmasked, against the epoch; a line a seed.",
            _curves(study, "validation_ndcg_10", "Validation NDCG@10"),
        ),
        Figure(
            "Training loss (mean cross-entropy per target, nats) against the epoch; a line a seed.",
            _curves(study, "train_loss", "Training loss"),
        ),
    )


def _curves(study: Study, column: Literal["validation_ndcg_10", "train_loss"], label: str) -> str:
    with drawing(column) as figure:
        axes = figure.axes
        colours = {model: COLOURS[place % len(COLOURS)] for place, model in enumerate(study.models)}
        handles = {}
        for (model, _), rows in study.histories.items():
            (handles[model],) = axes.plot(
                [row.epoch for row in rows],
                [getattr(row, column) for row in rows],
                color=colours[model],
                linewidth=1.2,
                marker="o",
                markersize=2.5,
            )
        axes.set_xlabel("Epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(list(handles.values()), list(handles), frameon=False)
    return figure.svg


@dataclass
class Drawing:
    """Axes to draw on; their picture is there when the drawing is over."""

    axes: Axes
    svg: str = field(default="", init=False)


@contextmanager
def drawing(name: str) -> Iterator[Drawing]:
    """Yield axes in the report's style; ``name`` gives the same figure the same identifiers whenever it is drawn."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        canvas = Canvas(figsize=(5.4, 3.6), layout="constrained")
        canvas.patch.set_visible(False)
        axes = canvas.subplots()
        axes.patch.set_visible(False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=_INK, alpha=0.15, linewidth=0.6)
        figure = Drawing(axes)
        yield figure
        figure.svg = _inline_svg(canvas)


def _inline_svg(canvas: Canvas) -> str:
    """Return a figure as an <svg> element: no prologue, no metadata, no identifiers that two figures would share."""
    text = io.StringIO()
    canvas.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    return re.sub(r'<g id="[^"]*"', "<g", svg)
