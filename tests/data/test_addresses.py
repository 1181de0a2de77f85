import pytest

from ssm4rec.data.locations import expand_addresses
from ssm4rec.runtime.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for name in (
        "b.csv",
        "a.csv.gz",
        "c.tsv",
        "_SUCCESS",
        ".b.csv.crc",
        "day=1/x.csv",
        "day=2/x.csv",
        "_tmp/x.csv",
        "we [1].csv",
    ):
        path = tmp_path / "clicks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "clicks"


def names(text, folder):
    return [address.removeprefix(f"{folder}/") for address in expand_addresses(text)]


def test_a_pattern_gives_its_files_in_order_without_hidden_ones(folder):
    assert names(f"{folder}/*.csv*", folder) == ["a.csv.gz", "b.csv", "we [1].csv"]
    assert names(f"{folder}/?.*", folder) == ["a.csv.gz", "b.csv", "c.tsv"]
    assert names(f"{folder}/day=*/x.csv", folder) == ["day=1/x.csv", "day=2/x.csv"]
    assert names(f"file://{folder}/day=*/x.csv", folder) == ["day=1/x.csv", "day=2/x.csv"]
    assert names(f"{folder}/**/x.csv", folder) == ["day=1/x.csv", "day=2/x.csv"]
    assert names(f"{folder}/c*, {folder}/b.csv", folder) == ["c.tsv", "b.csv"]


def test_a_file_is_itself_whatever_its_name(folder):
    assert names(f"{folder}/we [1].csv", folder) == ["we [1].csv"]
    assert names(f"{folder}/_SUCCESS", folder) == ["_SUCCESS"]
    assert expand_addresses("s3://b/k.csv, https://x/y?z=*") == ["s3://b/k.csv", "https://x/y?z=*"]
    assert expand_addresses("none.csv") == ["none.csv"]


def test_a_folder_is_its_files(folder):
    with pytest.raises(
        InputError, match=r"clicks: holds the folder day=1; name the files by a pattern such as .*/\*/\*\.csv"
    ):
        expand_addresses(str(folder))
    assert names(f"{folder}/day=1", folder) == ["day=1/x.csv"]
    assert names(f"{folder}/day=1/", folder) == ["day=1/x.csv"]


def test_a_folder_below_a_hidden_one_is_not_hidden(folder):
    assert names(f"{folder}/_tmp/*", folder) == ["_tmp/x.csv"]
    assert names(f"{folder}/_tmp", folder) == ["_tmp/x.csv"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}/*.parquet", r"\*\.parquet: no file fits"),
        ("{}/empty", "empty: no file fits"),
        ("{}/mixed", r"mixed: holds files of several formats, such as b\.parquet and a\.csv"),
        ("s3://bucket/day/", "s3://bucket/day/: in a bucket name each object"),
        ("s3://bucket/*.csv", "in a bucket name each object"),
    ],
)
def test_what_is_no_source(folder, text, words):
    (folder / "empty").mkdir()
    (folder / "empty" / "_SUCCESS").touch()
    (folder / "mixed").mkdir()
    for name in ("a.csv", "b.parquet"):
        (folder / "mixed" / name).touch()
    with pytest.raises(InputError, match=words):
        expand_addresses(text.format(folder))


def test_files_without_a_byte_in_a_folder_are_skipped(tmp_path):
    for name, text in (("part-0.csv", ""), ("part-1.csv", "a,b\n"), ("part-2.csv", "")):
        (tmp_path / name).write_text(text)
    assert expand_addresses(str(tmp_path)) == expand_addresses(f"{tmp_path}/part-*") == [str(tmp_path / "part-1.csv")]
    (tmp_path / "part-1.csv").write_text("")  # the first is refused, as empty, by whoever reads it
    assert expand_addresses(str(tmp_path))[0] == str(tmp_path / "part-0.csv")
