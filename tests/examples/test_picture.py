"""The example that draws a study's models: on either split, and where there is no study."""

import json
import runpy
from pathlib import Path
from typing import Any

import matplotlib.axes
import polars
import pytest

EXAMPLE = Path(__file__).with_name("compare_models.py")


def study(folder: Path, splitting: str, suffix: str) -> Path:
    """Write a study of one model and a baseline; ``a`` has two targets, ranked 1 and 3, the others miss."""
    told = {"metric": "ndcg@10", "protocol": "unmasked", "splitting": splitting, "dataset": "toy"}
    rows = [{**told, "model": "sasrec", "seed": 0, "value": 0.375}]
    rows += [{**told, "model": "most-popular", "seed": None, "value": 0.1}]
    rows += [{**told, "splitting": "other", "model": "sasrec", "seed": 0, "value": 0.5}]
    (folder / "results.json").write_text(json.dumps(rows))
    place = folder / "evaluations" / f"sasrec-seed0{suffix}"
    place.mkdir(parents=True)
    ranks = polars.DataFrame({"user_id": ["a", "a", "b", "c"], "rank_unmasked": [1, 3, 11, 200]})
    ranks.write_parquet(place / "ranks.parquet")
    return folder


@pytest.mark.parametrize(("splitting", "suffix"), [("leave-one-out", ""), ("global-time", "-global-time")])
def test_the_study_s_own_split_is_drawn_with_intervals_over_users(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    splitting: str,
    suffix: str,
) -> None:
    reaches: list[float] = []
    drawn = matplotlib.axes.Axes.errorbar

    def errorbar(axes: Any, *args: Any, **kwargs: Any) -> Any:
        reaches.append(kwargs["xerr"])
        return drawn(axes, *args, **kwargs)

    monkeypatch.setattr(matplotlib.axes.Axes, "errorbar", errorbar)
    monkeypatch.setattr("sys.argv", ["example", str(study(tmp_path, splitting, suffix)), str(tmp_path / "a.png")])
    runpy.run_path(str(EXAMPLE))
    assert capsys.readouterr().out == "sasrec-seed0 0.3750; ranked first for users a\n"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    # Sums of three users' gains less the mean: 1.5 - 0.75, -0.375 twice; the ratio's standard error, n / (n - 1).
    assert reaches == [pytest.approx(1.96 * (3 / 2 * (0.75**2 + 2 * 0.375**2)) ** 0.5 / 4)]


def test_without_a_study_it_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["example", str(tmp_path / "absent"), str(tmp_path / "a.png")])
    with pytest.raises(SystemExit, match=r"^2$"):
        runpy.run_path(str(EXAMPLE))
    assert capsys.readouterr().err == (
        f"{tmp_path / 'absent'}: no results.json there; name the folder of a finished study, such as runs/first\n"
    )
