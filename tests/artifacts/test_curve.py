"""One file for every learning curve: what is written comes back, what is not as described is refused in one line."""

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from ssm4rec.artifacts.curve import HELD_OUT, TRAIN, VALIDATION, Curve, Point, Training, read_curve, write_curve
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.epochs import learning_curve
from tests.epoch_rows import epoch_row

TUNING = Training("finetune_llm", "toy", "tiny", 0, "paged_adamw_32bit", 1e-4)


@pytest.fixture
def curve() -> Curve:
    """Two epochs of three steps and of one."""
    return learning_curve(
        [
            epoch_row(1, batch_targets=[10, 20, 30], targets=60, targets_seen=60, learning_rate=None),
            epoch_row(2, batch_targets=[40], targets=40, targets_seen=100, validation_ndcg_10=0.3),
        ]
    )


def test_what_is_written_comes_back(curve: Curve, tmp_path: Path) -> None:
    write_curve(tmp_path / "curve.parquet", curve)
    again = read_curve(tmp_path / "curve.parquet", "train_recommender")
    assert again == curve
    assert again.training == Training("train_recommender", "toy", "sasrec", 0, "adamw", 1e-3, "fixed")
    assert again.values("batch_targets") == [10, 20, 30, 40]
    assert again.against("epoch", "ndcg@10", VALIDATION) == [(1, 0.1), (2, 0.3)]
    assert again.against("seen", "loss") == [(60, 7.0), (100, 7.0)]
    assert again.against("step", "ndcg@10", VALIDATION) == [(3, 0.1), (4, 0.3)]
    assert again.against("step", "learning_rate") == [(4, 1e-3)], "what is None has no row"
    assert all(isinstance(value, int) for name in ("seen", "batch_targets") for value in again.values(name))
    assert again.values("bregman") == []


def test_metrics_of_before_are_read_under_the_names_of_today(curve: Curve, tmp_path: Path) -> None:
    path = tmp_path / "curve.parquet"
    write_curve(path, curve)
    before = [{**row, "name": row["name"].replace("@", "_")} for row in rows_of(curve)]
    assert {"hit_10", "ndcg_10"} < {row["name"] for row in before}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(before, pyarrow.parquet.read_schema(path)), path)
    assert read_curve(path, "train_recommender") == curve


def test_an_axis_that_is_missing_at_a_step_is_named() -> None:
    cut = Curve.of(TUNING, [Point(2, TRAIN, {"seen": 8, "loss": 1.0}), Point(4, TRAIN, {"loss": 1.0})])
    with pytest.raises(
        InputError, match="the learning curve of tiny seed 0 has no seen at step 4; run finetune_llm again"
    ):
        cut.against("seen", "loss")


def test_an_axis_of_its_own_split_comes_first() -> None:
    points = [Point(1, TRAIN, {"epoch": 0.5}), Point(1, HELD_OUT, {"epoch": 0.25, "accuracy": 1.0})]
    assert Curve.of(TUNING, points).against("epoch", "accuracy", HELD_OUT) == [(0.25, 1.0)]


def rows_of(curve: Curve) -> list[dict[str, Any]]:
    return [
        {"step": step, "split": split, "name": name, "value": float(value)}
        for (split, name), values in curve.series.items()
        for step, value in values.items()
    ]


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"step": 4, "split": TRAIN, "name": "loss", "value": 1.0}, "train loss at step 4: twice"),
        ({"step": -1, "split": TRAIN, "name": "loss", "value": 1.0}, "train loss at step -1: below 0"),
        ({"step": 5, "split": "test", "name": "loss", "value": 1.0}, "test loss: unknown"),
        ({"step": 5, "split": TRAIN, "name": "lass", "value": 1.0}, "train lass: unknown"),
        (
            {"step": 5, "split": VALIDATION, "name": "ndcg@10", "value": 1.5},
            "validation ndcg@10 at step 5: Input should",
        ),
        (
            {"step": 5, "split": TRAIN, "name": "batch_targets", "value": 2.5},
            "train batch_targets at step 5: Input should",
        ),
        ({"step": 5, "split": TRAIN, "name": "loss", "value": float("nan")}, "column value has numbers that are not"),
    ],
)
def test_a_number_that_is_none_is_named(curve: Curve, more: dict[str, Any], wrong: str, tmp_path: Path) -> None:
    write_curve(tmp_path / "curve.parquet", curve)
    schema = pyarrow.parquet.read_schema(tmp_path / "curve.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([*rows_of(curve), more], schema), tmp_path / "curve.parquet")
    with pytest.raises(InputError) as raised:
        read_curve(tmp_path / "curve.parquet", "train_recommender")
    assert wrong in str(raised.value)
    assert str(raised.value).endswith("; run train_recommender again")


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        (b'"adamw"', b'"adagrad"', "(optimizer: there is none called 'adagrad')"),
        (b'"fixed"', b'"growing"', "(batch_control: Input should be 'fixed', 'paper', 'inverse' or 'noise-scale')"),
        (b'"seed": 0', b'"seed": -1', "(seed: Input should be greater than or equal to 0)"),
        (b'"seed": 0, ', b"", "(seed: Field required)"),
        (b'{"stage"', b'{"cat": 1, "stage"', "(cat: unknown)"),
        (b"{", b"[", "(Expecting"),
    ],
)
def test_a_training_that_is_none_is_named(curve: Curve, old: bytes, new: bytes, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "curve.parquet"
    write_curve(path, curve)
    table = pyarrow.parquet.read_table(path)
    described = table.schema.metadata[b"ssm4rec.training"]
    assert old in described
    pyarrow.parquet.write_table(
        table.replace_schema_metadata({b"ssm4rec.training": described.replace(old, new, 1)}), path
    )
    with pytest.raises(InputError) as raised:
        read_curve(path, "train_recommender")
    assert str(raised.value).startswith(f"{path}: not a learning curve of train_recommender {wrong}")
    assert str(raised.value).endswith("; run train_recommender again")


def test_a_curve_that_lacks_a_number_or_is_of_another_stage(curve: Curve, tmp_path: Path) -> None:
    path = tmp_path / "curve.parquet"
    write_curve(path, Curve(curve.training, {key: value for key, value in curve.series.items() if key[1] != "hit@10"}))
    with pytest.raises(InputError, match=r"\(no validation hit@10\); run train_recommender again"):
        read_curve(path, "train_recommender")
    with pytest.raises(InputError, match="a learning curve of train_recommender, not of align_llm; give each where"):
        read_curve(path, "align_llm")


def test_a_history_of_an_earlier_version_says_to_run_the_stage_again(tmp_path: Path) -> None:
    path = tmp_path / "curve.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"epoch": [1], "train_loss": [7.0]}), path)
    with pytest.raises(InputError) as raised:
        read_curve(path, "train_recommender")
    assert str(raised.value) == (
        f"{path}: not a learning curve of train_recommender, it has no column 'step'; run train_recommender again"
    )
