"""Stray quotes are refused with their line; whatever RFC 4180 allows is read as before, however it is cut in pieces."""

import csv
import io
from pathlib import Path

import numpy
import pyarrow
import pytest

from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.delimited import read_csv
from ssm4rec.data.quoting import with_paired_quotes
from ssm4rec.data.streams import TextForm
from ssm4rec.errors import InputError

HEADER = "user_id,item_id,timestamp,text\n"


def read(path: Path, text: str, delimiter: str = "auto") -> list[tuple[bytes, ...]]:
    path.write_text(text)
    batches = read_csv(path, ["user_id", "item_id"], TextForm(delimiter, "auto"), BadRows())
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('u1,i1,1,"5 inch\nu2,i2,2,plain\nu3,i3,3,"6 inch\nu4,i4,4,x\n', 2),
        ('u1,i1,1,ok\nu2,"i2,2,x\nu3,i3,3,"7 inch\n', 3),
        ('u1,i1,1,"a ""quoted"" one"\nu2,i2,2,"two\nlines"\nu3,i3,3,"bold" words\n', 5),
        ('u1,i1,1,"never closed\nu2,i2,2,x\n', 2),
    ],
)
@pytest.mark.parametrize("bad_rows", ["refuse", "drop"])
def test_a_stray_quote_is_refused_where_it_opens(tmp_path: Path, rows: str, line: int, bad_rows: str) -> None:
    path = tmp_path / "e.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(InputError, match=f"e.csv, line {line}: a quote opens a value"):
        list(read_csv(path, ["user_id", "item_id"], TextForm("auto", "auto"), BadRows(bad_rows)))


@pytest.mark.parametrize(("name", "sign"), [("comma", ","), ("tab", "\t"), ("semicolon", ";"), ("pipe", "|")])
def test_quotes_that_pair_up_are_read(tmp_path: Path, name: str, sign: str) -> None:
    rows = ['u1,i1,1,"two\n\nlines, and ""quotes"""', 'u2,"i,2",2,5" wide', 'u3,i3,3,""', '"u4",i4,4,"x"']
    text = (HEADER + "\n".join(rows) + "\n").replace(",", sign)
    found = read(tmp_path / "e.csv", text, name)
    assert found == [(b"u1", b"i1"), (b"u2", f"i{sign}2".encode()), (b"u3", b"i3"), (b"u4", b"i4")]


def test_any_text_that_pythons_csv_writes_passes_in_pieces_of_any_size() -> None:
    random = numpy.random.default_rng(3)
    letters = ["a", '"', ",", "\n", "\r\n", " ", '""', "é"]
    rows = [["".join(random.choice(letters, random.integers(0, 6))) for _ in range(4)] for _ in range(400)]
    written = io.StringIO(newline="")
    csv.writer(written).writerows(rows)
    text = written.getvalue().encode()
    for size in (1, 7, 64, len(text)):
        with with_paired_quotes(pyarrow.PythonFile(io.BytesIO(text), mode="r"), "e.csv", ",", 99, []) as stream:
            assert b"".join(iter(lambda size=size: stream.read(size), b"")) == text


@pytest.mark.parametrize(
    ("rows", "line", "taken"),
    [
        ('u1,i1,1,x\nu1,i2,2,"5 inch tv\nu2,i2,2,TV 5"\nu3,i3,3,x\n', 3, 1),
        ('u1,"5 inch,1,x\nu2,i2,2,x\nu3,i3 5",3,x\n', 2, 2),
        ('u1,"5 inch,1,x\r\nu2,i2,2,x\r\nu3,i3 5",3,x', 2, 2),
        ('u1,i1,1,x\ru1,"5 inch,1,x\ru2,i2,2,x\ru3,i3 5",3,x', 3, 2),
        ('u1,"two\n\nlines",1,x\n7,i1,1,"5 inch\nB007,i2,2,x 6"\n', 5, 1),
        ('u1,i1,1,"5 inch\nu2,i2,-2.5,x 6"\nu3,i3,3,x\n', 2, 1),
        ('u1,i1,1,"5 inch\n\nu2,i2,2,x\n\nu3,i3,3,x 6"\n', 2, 2),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_stray_quote_that_another_closes_by_chance(rows: str, line: int, taken: int, size: int) -> None:
    text = (HEADER if "\n" in rows else HEADER.replace("\n", "\r")) + rows
    file = pyarrow.PythonFile(io.BytesIO(text.encode()), mode="r")
    with (
        pytest.raises(InputError, match=f"line {line}: a quote opens a value that takes in whole rows .{taken}"),
        with_paired_quotes(file, "e.csv", ",", 4, [0, 1, 2]) as stream,
    ):
        while stream.read(size):
            pass


def test_stray_quotes_far_apart_are_found_in_a_large_file_too(tmp_path: Path) -> None:
    rows = [f"u{row},i{row % 99},{row},{'x' * 100}\n" for row in range(200_000)]
    rows[100_000] = 'u1,i1,1,"5 inch\n'
    rows[150_000] = 'u1,i1,1,x 6"\n'
    with pytest.raises(InputError, match=r"line 100002: .* takes in whole rows \(50000\)"):
        read(tmp_path / "e.csv", HEADER + "".join(rows))


@pytest.mark.parametrize(
    "review",
    ["Great!\nFits, cuts, holds, well", "one\ntwo", "a,b,c\nd,e,f", "Sizes\n7,8,nine,ten", "\n,,,", "1\n,2,3,4"],
)
def test_reviews_of_several_lines_are_read(tmp_path: Path, review: str) -> None:
    text = HEADER + f'u1,i1,1,"{review}"\nu2,i2,2,x\n'
    path = tmp_path / "e.csv"
    path.write_text(text)
    batches = read_csv(path, ["user_id", "item_id", "timestamp"], TextForm(), BadRows())
    assert [row["timestamp"] for batch in batches for row in batch.to_pylist()] == [b"1", b"2"]
