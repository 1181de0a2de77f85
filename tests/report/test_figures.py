"""Legends do not cover what is drawn."""

import pytest

from ssm4rec.report.figures import drawing


@pytest.mark.parametrize(("series", "inside"), [(4, True), (5, False)])
def test_a_long_legend_stands_below_the_axes(series: int, inside: bool) -> None:
    with drawing("some", "Some.", ("x", "y"), ("x", "y")) as figure:
        for place in range(series):
            figure.series(place, f"model {place}", [(0, place), (1, place)])
    assert (figure.axes.get_legend() is not None) == inside
    assert len(figure.canvas.legends) == (not inside)
