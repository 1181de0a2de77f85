"""The figures of the report: as SVG to stand inside a page, as PNG, and the numbers they show."""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ssm4rec.artifacts.estimate import Estimate

# Okabe and Ito's colours: distinct for colour-blind readers, visible on white and on black.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c")

# In addition to the colours, for readers without: markers and lines on paper, hatches of bars.
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
LINES: Final = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
HATCHES: Final = ("", "....", "////", "\\\\\\\\", "xxxx", "----", "oo")

# Matplotlib has no name for "the colour of the text around it"; this one stands for it until the SVG is text.
INK: Final = "#010203"

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 11,
    "hatch.linewidth": 0.6,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
_DOTS_PER_INCH: Final = 160
_LABELS_INSIDE: Final = 4
_SPAN_FOR_FINE_TICKS: Final = 300.0
"""Axes that span less than this factor have ticks at 1, 2 and 5 of each decade."""

Cell = str | int | float | None


@dataclass(frozen=True)
class Figure:
    """A figure: axes to draw on and the numbers that they show; rendered when it is asked for.

    ``name``, of its files, gives it the same identifiers whenever it is rendered; ``caption`` is plain text; ``rows``
    are the numbers and ``columns`` what they are called.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    canvas: Canvas
    axes: Axes
    rows: list[tuple[Cell, ...]] = field(default_factory=list)

    def series(self, place: int, label: str | None, points: Iterable[tuple[Any, Any]], reach: Any = None) -> None:
        """Draw the place-th series, a line through points; ``reach`` of its whiskers as matplotlib takes it."""
        xs, ys = columns_of(points)
        if reach is None:
            self.axes.plot(xs, ys, label=label, **style(place))
        else:
            self.axes.errorbar(xs, ys, yerr=reach, capsize=2, label=label, **style(place))

    @property
    def svg(self) -> str:
        """An <svg> element: no prologue, no metadata, no identifiers that two figures would share."""
        text = io.StringIO()
        with _style(self.name):
            self.canvas.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        svg = text.getvalue()
        svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
        return re.sub(r'<g id="[^"]*"', "<g", svg)

    @property
    def png(self) -> bytes:
        """The figure on white."""
        picture = io.BytesIO()
        with _style(self.name):
            self.canvas.savefig(picture, format="png", dpi=_DOTS_PER_INCH, facecolor="white")
        return picture.getvalue()


@contextmanager
def drawing(
    name: str,
    caption: str,
    columns: Sequence[str],
    labels: tuple[str, str],
    *,
    height: float = 3.6,
    legend_columns: int = 0,
) -> Iterator[Figure]:
    """Yield a figure in the report's style, to draw on; its legend, if anything has a label, comes at the end.

    ``labels`` are of the axes, x and y; ``legend_columns`` of a legend below them, 0: it stands inside
    while it is short enough not to cover what is drawn.
    """
    with _style(name):
        canvas = Canvas(figsize=(5.4, height), layout="constrained")
        canvas.patch.set_facecolor("none")  # a page's own colour shows through; a PNG is given white
        axes = canvas.subplots()
        axes.patch.set_visible(False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        yield Figure(name, caption, tuple(columns), canvas, axes)
        labelled = len(axes.get_legend_handles_labels()[0])
        if labelled and (legend_columns or labelled > _LABELS_INSIDE):
            canvas.legend(loc="outside lower center", ncols=legend_columns or 3, frameon=False, fontsize=9)
        elif labelled:
            axes.legend(frameon=False, fontsize=9)


def _style(name: str) -> AbstractContextManager[None]:
    return matplotlib.rc_context({**_STYLE, "svg.hashsalt": name})


def style(place: int) -> dict[str, Any]:
    """Return colour, marker and line of the place-th series of a figure, distinct without colour."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": LINES[place % len(LINES)],
        "linewidth": 1.2,
        "markersize": 4,
    }


def columns_of(points: Iterable[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """Return the coordinates of points along x and along y; of no points nothing."""
    found = list(points)
    return [x for x, _ in found], [y for _, y in found]


def cells(estimate: Estimate, scale: float = 1.0) -> tuple[float, float, float]:
    """Return an estimate and its interval as cells of a figure's numbers."""
    return (estimate.value * scale, estimate.low * scale, estimate.high * scale)


def whiskers(estimates: Sequence[Estimate], scale: float = 1.0) -> list[list[float]]:
    """Return how far intervals reach below and above their values, as matplotlib takes them.

    Rounding may put a bound on the wrong side of its value; matplotlib refuses what is below 0.

    >>> whiskers([Estimate(2.0, 1.5, 4.0, 9), Estimate(3.0, 3.1, 3.1, 9)])
    [[0.5, 0.0], [2.0, 0.10000000000000009]]
    """
    below = [scale * max(0.0, one.value - one.low) for one in estimates]
    above = [scale * max(0.0, one.high - one.value) for one in estimates]
    return [below, above]


def logarithmic(axes: Axes, *directions: Literal["x", "y"]) -> None:
    """Make axes logarithmic, their ticks plain numbers: the report's text has no typesetting."""
    for direction in directions:
        axis = axes.xaxis if direction == "x" else axes.yaxis
        (axes.set_xscale if direction == "x" else axes.set_yscale)("log")
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < _SPAN_FOR_FINE_TICKS else (1,)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
