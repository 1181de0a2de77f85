"""Figures of a long-history study: quality against the window, the bytes of a state against the history."""

import math
from collections.abc import Sequence
from typing import Final

from matplotlib.ticker import NullLocator

from ssm4rec.artifacts.names import MOST_POPULAR
from ssm4rec.evaluation.windows import NAME, label
from ssm4rec.report.comparison_sections import model_row
from ssm4rec.report.figures import INK, Cell, Drawing, Figure, drawing, logarithmic, style, whiskers
from ssm4rec.studies.long_histories.study import LongHistoryStudy

_KIBI: Final = 1024


def against_window(study: LongHistoryStudy, protocol: str) -> Figure:
    """Return NDCG@10 against the window, with intervals over users; most-popular as a line."""
    comparison = study.windows.comparison
    numbers: list[tuple[Cell, ...]] = []
    with drawing(f"ndcg-against-window-{protocol}", height=4.0) as made:
        for place, (model, windows) in enumerate(study.windows.windows.items()):
            found = [(window, model_row(comparison, label(model, window), protocol, NAME)) for window in windows]
            rows = [(window, row) for window, row in found if row]
            means = [row.mean for _, row in rows]
            made.axes.errorbar(
                _apart([window for window, _ in rows], place),
                [mean.value for mean in means],
                yerr=whiskers(means),
                capsize=2,
                label=model,
                **style(place),
            )
            numbers += [(model, window, row.mean.value, row.mean.low, row.mean.high) for window, row in rows]
        popular = model_row(comparison, MOST_POPULAR, protocol, NAME)
        if popular:
            mean = popular.mean
            made.axes.axhline(mean.value, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), label=MOST_POPULAR)
            numbers.append((MOST_POPULAR, None, mean.value, mean.low, mean.high))
        _window_axis(made, study)
        made.axes.set_ylabel(f"NDCG@10, history {protocol}")
    caption = (
        f"NDCG@10 with the history {protocol} against the window (logarithmic), 95% intervals over users. All points "
        "are of the same users, so the intervals overlap more than the differences warrant: those stand in the table. "
        "Points of one window stand a little apart, to be seen."
    )
    return made.figure(caption, ("model", "window", "ndcg@10", "low", "high"), numbers)


def of_the_longest_histories(study: LongHistoryStudy, protocol: str) -> Figure:
    """Return NDCG@10 against the window for the quarter of the users with the longest histories."""
    slices = [
        row
        for row in study.windows.comparison.slices
        if (row.by, row.protocol, row.metric) == ("history_length", protocol, NAME)
    ]
    part = slices[-1].part
    own = {row.model: row for row in slices if row.part == part}
    numbers: list[tuple[Cell, ...]] = []
    with drawing("ndcg-of-the-longest-histories") as made:
        for place, (model, windows) in enumerate(study.windows.windows.items()):
            rows = [(window, own[label(model, window)]) for window in windows]
            made.axes.errorbar(
                _apart(windows, place),
                [row.mean for _, row in rows],
                yerr=[math.nan if row.standard_error is None else row.standard_error for _, row in rows],
                capsize=2,
                label=model,
                **style(place),
            )
            numbers += [(model, window, row.part, row.targets, row.mean, row.standard_error) for window, row in rows]
        _window_axis(made, study)
        made.axes.set_ylabel(f"NDCG@10, history {protocol}")
    caption = (
        f"NDCG@10 with the history {protocol} against the window, for the quarter of the users with the longest "
        f"histories ({part} items); whiskers are standard errors."
    )
    columns = ("model", "window", "history_length", "targets", "ndcg@10", "standard_error")
    return made.figure(caption, columns, numbers)


def state_sizes(study: LongHistoryStudy) -> Figure:
    """Return the size of one user's state against the length of the history."""
    numbers: list[tuple[Cell, ...]] = []
    with drawing("state-against-length", height=4.0) as made:
        for place, (model, sizes) in enumerate(study.states().items()):
            made.axes.plot(list(sizes), [size / _KIBI for size in sizes.values()], label=model, **style(place))
            numbers += [(model, length, size) for length, size in sizes.items()]
        logarithmic(made.axes, "x", "y")
        made.axes.set_xlabel("Items in the history, L")
        made.axes.set_ylabel("State of one user, KiB")
        made.axes.legend(frameon=False, fontsize=9)
    caption = (
        "What a server keeps of one user to go on with one more event, against the length of the history; both axes "
        "logarithmic. The sizes are those of the tensors."
    )
    return made.figure(caption, ("model", "length", "bytes"), numbers)


def _apart(windows: Sequence[int], place: int) -> list[float]:
    """Return where a model's points stand: a little to the right of the last model's."""
    return [window * 1.03**place for window in windows]


def _window_axis(made: Drawing, study: LongHistoryStudy) -> None:
    windows = sorted({window for own in study.windows.windows.values() for window in own})
    logarithmic(made.axes, "x")
    made.axes.set_xticks(windows, [f"{window:,}" for window in windows])
    made.axes.xaxis.set_minor_locator(NullLocator())
    made.axes.set_ylim(bottom=0)
    made.axes.set_xlabel("Window: the most items of a history that are read")
    made.axes.legend(frameon=False, fontsize=9)
