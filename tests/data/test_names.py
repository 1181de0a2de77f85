"""What a data set is called: chosen or told from its files, never the name of a published one."""

from pathlib import Path

import pytest

from ssm4rec.data.data_sets import data_set_name
from ssm4rec.runtime.errors import InputError


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("clicks.parquet", "clicks"),
        ("/data/2026-11 clicks (2).csv.gz", "2026-11-clicks-2"),
        ("file:///data/K%C3%A4ufe.jsonl", "Kaufe"),
        ("https://me:secret@example.org/shop/orders.v2.ndjson?signature=abc", "orders.v2"),
        ("s3://bucket/orders.inter", "orders"),
        ("events.csv", "events"),
        ("/data/shop/", "shop"),
        ("/data/shop/*.csv", "shop"),
        ("/data/shop/20*/clicks.csv", "shop"),
        ("/data/shop/monday.csv,/data/shop/tuesday.csv", "shop"),
        ("s3://bucket/shop/mon.csv, s3://bucket/shop/tue.csv", "shop"),
    ],
)
def test_own_data_are_called_after_their_files(source: str, name: str) -> None:
    assert data_set_name("events", "", source) == name
    assert data_set_name("events", "mine_1.x-Y", source) == "mine_1.x-Y"


def test_a_relative_pattern_is_called_after_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "winter").mkdir()
    monkeypatch.chdir(tmp_path / "winter")
    assert data_set_name("events", "", "*.csv") == data_set_name("events", "", "mon.csv,tue.csv") == "winter"


@pytest.mark.parametrize("dataset", ["ml-1m", "amazon-2023-beauty", "no-such-data-set"])
def test_published_data_keep_their_name(dataset: str) -> None:
    assert data_set_name(dataset, "", "own.zip") == data_set_name(dataset, dataset, "") == dataset
    with pytest.raises(InputError, match=f"--name mine: --dataset {dataset} has its own name; leave --name out"):
        data_set_name(dataset, "mine", "")


@pytest.mark.parametrize(
    "name", ["a b", "../up", "a/b", ".hidden", "-dash", "ä", "a\n", "a" * 81, "a:b", "", "  ", "a'; DROP", "'"]
)
def test_a_name_that_cannot_be_one_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(InputError) as refused:
        data_set_name("events", name, "" if name else "/data/日本.csv")
    line = str(refused.value)
    assert "\n" not in line
    assert "use letters, digits" in line if name else "set one with --name" in line


@pytest.mark.parametrize("name", ["ml-1m", "ML-1M", "ml-100k", "ml-20m", "amazon-2023-beauty", "amazon-2023-x"])
def test_own_data_do_not_pose_as_published_ones(name: str) -> None:
    for chosen, source in ((name, "x.csv"), ("", f"/data/{name}.csv")):
        with pytest.raises(InputError, match="is the name of a published data set; set another --name"):
            data_set_name("events", chosen, source)


def test_files_of_several_folders_need_a_name_and_no_file_is_named() -> None:
    with pytest.raises(InputError, match=r"--source 'a/x\.csv,b/x\.csv': gives the data set no name; set one"):
        data_set_name("events", "", "a/x.csv,b/x.csv")
    with pytest.raises(InputError, match="--dataset events needs --source"):
        data_set_name("events", "", "")
