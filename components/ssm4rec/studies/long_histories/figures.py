"""Figures of a long-history study: quality against the window, the bytes of a state against the history."""

from collections.abc import Sequence
from typing import Final

from matplotlib.ticker import NullLocator

from ssm4rec.artifacts.names import MOST_POPULAR
from ssm4rec.evaluation.windows import NAME, label
from ssm4rec.report.comparison_sections import model_row, slice_rows, standard_errors
from ssm4rec.report.figures import INK, Figure, cells, drawing, logarithmic, whiskers
from ssm4rec.studies.long_histories.study import LongHistoryStudy

_WINDOW: Final = "Window: the most items of a history that are read"


def against_window(study: LongHistoryStudy, protocol: str) -> Figure:
    """Return NDCG@10 against the window, with intervals over users; most-popular as a line."""
    comparison = study.windows.comparison
    caption = (
        f"NDCG@10 with the history {protocol} against the window (logarithmic), 95% intervals over users. All points "
        "are of the same users, so the intervals overlap more than the differences warrant: those stand in the table. "
        "Points of one window stand a little apart, to be seen."
    )
    columns = ("model", "window", "ndcg@10", "low", "high")
    labels = (_WINDOW, f"NDCG@10, history {protocol}")
    with drawing(f"ndcg-against-window-{protocol}", caption, columns, labels, height=4.0) as figure:
        for place, (model, windows) in enumerate(study.windows.windows.items()):
            means = [model_row(comparison, label(model, window), protocol, NAME).mean for window in windows]
            points = zip(_apart(windows, place), (mean.value for mean in means), strict=True)
            figure.series(place, model, points, whiskers(means))
            figure.rows.extend((model, window, *cells(mean)) for window, mean in zip(windows, means, strict=True))
        popular = model_row(comparison, MOST_POPULAR, protocol, NAME).mean
        figure.axes.axhline(popular.value, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), label=MOST_POPULAR)
        figure.rows.append((MOST_POPULAR, None, *cells(popular)))
        _window_axis(figure, study)
    return figure


def of_the_longest_histories(study: LongHistoryStudy, protocol: str) -> Figure:
    """Return NDCG@10 against the window for the quarter of the users with the longest histories."""
    slices = slice_rows(study.windows.comparison, "history_length", protocol)
    part = slices[-1].part
    own = {row.model: row for row in slices if row.part == part}
    caption = (
        f"NDCG@10 with the history {protocol} against the window, for the quarter of the users with the longest "
        f"histories ({part} items); whiskers are standard errors."
    )
    columns = ("model", "window", "history_length", "targets", "ndcg@10", "standard_error")
    labels = (_WINDOW, f"NDCG@10, history {protocol}")
    with drawing("ndcg-of-the-longest-histories", caption, columns, labels) as figure:
        for place, (model, windows) in enumerate(study.windows.windows.items()):
            rows = [own[label(model, window)] for window in windows]
            points = zip(_apart(windows, place), (row.mean for row in rows), strict=True)
            figure.series(place, model, points, standard_errors(rows))
            for window, row in zip(windows, rows, strict=True):
                figure.rows.append((model, window, part, row.targets, row.mean, row.standard_error))
        _window_axis(figure, study)
    return figure


def state_sizes(study: LongHistoryStudy) -> Figure:
    """Return the size of one user's state against the length of the history."""
    caption = (
        "What a server keeps of one user to go on with one more event, against the length of the history; both axes "
        "logarithmic. The sizes are those of the tensors."
    )
    labels = ("Items in the history, L", "State of one user, KiB")
    with drawing("state-against-length", caption, ("model", "length", "bytes"), labels, height=4.0) as figure:
        for place, (model, sizes) in enumerate(study.states().items()):
            figure.series(place, model, [(length, size / 1024) for length, size in sizes.items()])
            figure.rows.extend((model, length, size) for length, size in sizes.items())
        logarithmic(figure.axes, "x", "y")
    return figure


def _apart(windows: Sequence[int], place: int) -> list[float]:
    """Return where a model's points stand: a little to the right of the last model's."""
    return [window * 1.03**place for window in windows]


def _window_axis(figure: Figure, study: LongHistoryStudy) -> None:
    windows = sorted({window for own in study.windows.windows.values() for window in own})
    logarithmic(figure.axes, "x")
    figure.axes.set_xticks(windows, [f"{window:,}" for window in windows])
    figure.axes.xaxis.set_minor_locator(NullLocator())
    figure.axes.set_ylim(bottom=0)
