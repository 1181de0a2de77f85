"""What an address names: a file whose name has #, ?, % or a comma is found as it stands."""

from pathlib import Path

import pytest

from ssm4rec.data.data_sets import data_set_name, read_data_set
from ssm4rec.data.locations import check_address, file_name, format_of_name, local_path, split_addresses
from ssm4rec.data.source import SourceOptions
from ssm4rec.runtime.errors import InputError

HOSTILE = [
    "sales #3.csv",
    "sales?.csv",
    "50%.csv",
    "a%23b.csv",
    "mon,tue.csv",
    "a:b.csv",
    "it's.csv",
    "a b.csv",
    "é.csv",
    "[x].csv",
]
ROWS = "user_id,item_id,timestamp\n" + "".join(
    f"u{user},i{step},{10**9 + step}\n" for user in range(3) for step in range(5)
)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("written", ["path", "relative", "file"])
def test_a_file_is_read_whatever_its_name(
    name: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text(ROWS)
    monkeypatch.chdir(tmp_path)
    address = {"path": str(tmp_path / name), "relative": name, "file": f"file://{tmp_path / name}"}[written]
    assert split_addresses(address) == [address]
    read = read_data_set(SourceOptions("events", tmp_path / "cache", source=address))
    assert len(read.interactions.frame) == 15
    assert data_set_name("events", "", address)


def test_encoded_names_and_lists(tmp_path: Path) -> None:
    for name in ("mon,tue.csv", "wed #1.csv", "thu.csv"):
        (tmp_path / name).write_text(ROWS)
    encoded = f"file://{tmp_path}/mon%2Ctue.csv"
    assert local_path(encoded) == tmp_path / "mon,tue.csv"
    both = f"{tmp_path}/thu.csv, {tmp_path}/mon,tue.csv,{tmp_path}/wed #1.csv, s3://bucket/a.csv,{encoded}"
    assert split_addresses(both) == [
        f"{tmp_path}/thu.csv", f"{tmp_path}/mon,tue.csv", f"{tmp_path}/wed #1.csv", "s3://bucket/a.csv", encoded,
    ]  # fmt: skip
    options = SourceOptions("events", tmp_path / "cache", source=both.replace(" s3://bucket/a.csv,", ""))
    assert len(read_data_set(options).interactions.frame) == 4 * 15


def test_several_missing_files_stay_apart(tmp_path: Path) -> None:
    assert split_addresses(f"{tmp_path}/a.csv,{tmp_path}/b.csv,,") == [f"{tmp_path}/a.csv", f"{tmp_path}/b.csv"]
    with pytest.raises(InputError, match=r"a.csv: no such file; .*a comma in a name is %2C after file://"):
        read_data_set(SourceOptions("events", tmp_path, source=f"{tmp_path}/a.csv,b.csv"))


def test_a_pattern_that_is_a_file_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "a?.csv").write_text(ROWS)
    (tmp_path / "ab.csv").write_text(ROWS)
    options = SourceOptions("events", tmp_path / "cache", source=f"{tmp_path}/a?.csv")
    assert len(read_data_set(options).interactions.frame) == 15


def test_addresses_of_other_machines() -> None:
    assert file_name("https://host/a%20b.csv.gz?signature=x/y#part") == "a b.csv.gz"
    assert format_of_name("https://host/a.csv?version=1.parquet") == "csv"
    assert local_path("s3://bucket/a.csv") is None
    for address in ("ftp://host/a.csv", "htp://host/a.csv", "c:a.csv"):
        with pytest.raises(InputError, match="unknown kind of address; use a path, file://"):
            check_address(address)
    check_address("HTTPS://host/a.csv")
