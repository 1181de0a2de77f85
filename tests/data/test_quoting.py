"""Stray quotes are refused with their line; whatever RFC 4180 allows is read as before, however it is cut in pieces."""

import csv
import io
from contextlib import suppress
from pathlib import Path

import numpy
import pyarrow
import pytest

from ssm4rec.data.bad_rows import MALFORMED, BadRows
from ssm4rec.data.delimited import read_csv
from ssm4rec.data.quoting import with_paired_quotes
from ssm4rec.data.row_kinds import RowKinds
from ssm4rec.data.streams import BLOCK_BYTES, TextForm
from ssm4rec.runtime.errors import InputError

HEADER = "user_id,item_id,timestamp,text\n"


def read(path: Path, text: str, delimiter: str = "auto") -> list[tuple[bytes, ...]]:
    path.write_text(text)
    batches = read_csv(path, ["user_id", "item_id"], TextForm(delimiter, "auto"), BadRows())
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("rows", "line", "left"),
    [
        ('u1,i1,1,"5 inch\nu2,i2,2,plain\nu3,i3,3,"6 inch\nu4,i4,4,x\n', 2, "24"),
        ('u1,i1,1,ok\nu2,"i2,2,x\nu3,i3,3,"7 inch\n', 3, "1"),
        ('u1,i1,1,"a ""quoted"" one"\nu2,i2,2,"two\nlines"\nu3,i3,3,"bold" words\n', 5, "12"),
        ('u1,i1,1,"never closed\nu2,i2,2,x\n', 2, "2"),
    ],
)
def test_a_stray_quote_is_refused_where_it_opens_or_its_line_left_out(
    tmp_path: Path, rows: str, line: int, left: str
) -> None:
    path = tmp_path / "e.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(InputError, match=f"e.csv, line {line}: a quote opens a value.*, or set --bad-rows drop$"):
        list(read_csv(path, ["user_id", "item_id"], TextForm("auto", "auto"), BadRows()))
    bad_rows = BadRows("drop")
    batches = list(read_csv(path, ["user_id", "item_id"], TextForm("auto", "auto"), bad_rows))
    users = [row["user_id"].decode() for batch in batches for row in batch.to_pylist()]
    assert users == [f"u{one}" for one in left]
    assert bad_rows.dropped == {MALFORMED: rows.count("\n") - rows.count('"two\n') - len(left)}


def test_a_header_is_never_left_out(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text('\n\nuser_id,item_id,"timestamp" of,text\nu1,i1,1,x\n')
    with pytest.raises(InputError, match=r"e.csv, line 3: a quote opens a value, and text follows"):
        list(read_csv(path, ["user_id", "item_id"], TextForm(), BadRows("drop")))


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
        file = pyarrow.PythonFile(io.BytesIO(text), mode="r")
        with with_paired_quotes(file, "e.csv", RowKinds(",", 4, {0: "order"}), BadRows()) as stream:
            assert b"".join(iter(lambda size=size: stream.read(size), b"")) == text


def row(user: str, item: str, rest: str, time: int = 0) -> str:
    return f"{user},{item},{1_461_234_567 + time},{rest}"


@pytest.mark.parametrize(
    ("rows", "line", "taken"),
    [
        ('u1,i1,1,x\nu1,i2,2,"5 inch tv\nu2,i2,2,TV 5"\nu3,i3,3,x\n', 3, 1),
        ('u1,"5 inch,1,x\nu2,i2,2,x\nu3,i3 5",3,x\n', 2, 2),
        ('u1,"5 inch,1,x\r\nu2,i2,2,x\r\nu3,i3 5",3,x', 2, 2),
        ('u1,i1,1,x\ru1,"5 inch,1,x\ru2,i2,2,x\ru3,i3 5",3,x', 3, 2),
        ('u1,"two\n\nlines 1",1,x\n7,i1,1,"5 inch\nB007,i2,2,x 6"\n', 5, 1),
        ('u1,i1,1,"5 inch\nu2,i2,-2.5,x 6"\nu3,i3,3,x\n', 2, 1),
        ('u1,i1,1,"5 inch\n\nu2,i2,2,x\n\nu3,i3,3,x 6"\n', 2, 2),
        # Some of the rows taken in are malformed or lack a value, others have blanks around it.
        ('u1,i1,1,"5 inch\nu2,i2,2\nu3,i3,3,x\nu4,i4,4,x 6"\n', 2, 2),
        ('u1,i1,1,"5 inch\n,i2,2,x\nu3, i3 , 3 ,x\nu4,i4,4,x 6"\n', 2, 2),
        # The row has another value of several lines, before or after.
        ('u1,"i1\n(new)",1,"5 inch\nu2,i2,2,x\nu3,i3,3,x 6"\n', 3, 2),
        ('u1,"i1 5,1,x\nu2,i2,2,x\nu3,i3 5",3,"two\nlines"\n', 2, 2),
        # A value with a delimiter stands before the quote; an empty value is quoted.
        ('"u,1",i1,1,"5 inch\nu2,i2,2,x 6"\nu3,i3,3,x\n', 2, 1),
        ('u1,i1,1,"5 inch\nu2,i2,2,""\nu3,i3,3,x 6"\n', 2, 2),
        # Users are numbers in the first row and names in others.
        ('7,i1,1,"5 inch\nanna,i2,2,x\nB007,i3,3,x 6"\nberta,i4,4,x\n', 2, 2),
        ("\n".join([row("u1", "i1", '"5 inch'), row("u2", "i2", "x"), row("u3", "i3", '6"')]) + "\n", 2, 2),
        ('u1,i1,2016-01-01,"5 inch\nu2,i2,2016-01-02 10:00:00,x\nu3,i3,2016-01-03,x 6"\n', 2, 2),
    ],
)
@pytest.mark.parametrize("size", [7, 1 << 20])
def test_a_stray_quote_that_another_closes_by_chance(rows: str, line: int, taken: int, size: int) -> None:
    text = ((HEADER if "\n" in rows else HEADER.replace("\n", "\r")) + rows).encode()
    kinds = RowKinds.of(text, ",", 4, [0, 1, 2])
    with (
        pytest.raises(InputError, match=f"line {line}: a quote opens a value that takes in whole rows .{taken}"),
        with_paired_quotes(pyarrow.PythonFile(io.BytesIO(text), mode="r"), "e.csv", kinds, BadRows()) as stream,
    ):
        while stream.read(size):
            pass
    bad_rows = BadRows("drop")
    with with_paired_quotes(pyarrow.PythonFile(io.BytesIO(text), mode="r"), "e.csv", kinds, bad_rows) as stream:
        passed = b"".join(iter(lambda: stream.read(size), b""))
    removed = text.splitlines(keepends=True)[line - 1]
    if "(new)" in rows:  # the row began in the line above
        removed = text.splitlines(keepends=True)[line - 2] + removed
    assert passed == text.replace(removed, b"")
    assert bad_rows.dropped == {MALFORMED: 1}


def test_stray_quotes_far_apart_are_found_in_a_large_file_too(tmp_path: Path) -> None:
    rows = [f"u{row},i{row % 99},{row},{'x' * 100}\n" for row in range(200_000)]
    rows[100_000] = 'u1,i1,1,"5 inch\n'
    rows[150_000] = 'u1,i1,1,x 6"\n'
    with pytest.raises(InputError, match=r"line 100002: .* takes in whole rows \(50000\)"):
        read(tmp_path / "e.csv", HEADER + "".join(rows))
    bad_rows = BadRows("drop")
    batches = read_csv(tmp_path / "e.csv", ["user_id", "timestamp"], TextForm(), bad_rows)
    times = [int(value) for batch in batches for value in batch.column("timestamp").to_pylist()]
    assert times == [time for time in range(200_000) if time not in (100_000, 150_000)][:100_000] + [
        1 if time == 150_000 else time for time in range(100_001, 200_000)
    ]
    assert bad_rows.dropped == {MALFORMED: 1}


def test_a_stray_quote_in_the_first_row_of_a_large_file(tmp_path: Path) -> None:
    rows = ['u1,i1,1,"5 inch\n', *(f"u{row},i{row % 99},{row},{'x' * 100}\n" for row in range(20_000)), 'u1,i1,1,6"\n']
    with pytest.raises(InputError, match=r"line 2: .* takes in whole rows \(20001\)"):
        read(tmp_path / "e.csv", HEADER + "".join(rows))


REVIEWS = [
    "Great!\nFits, cuts, holds, well",
    "one\ntwo",
    "a,b,c\nd,e,f",
    "Sizes\n7,8,nine,ten",
    "\n,,,",
    "1\n,2,3,4",
    "\n\n",
    "Per 100 g\nEnergy,kcal,52,low\nFat,g,0.2,low\nSugar,g,10,high",
    "7,8,9,10\n11,12,13,14\n15,16,17,18",
    "month,sold\n2016-01,7\n2016-02,9\n2016-03,4",
    "1461234567,u1,i1,x\n1461234568,u2,i2,y\n1461234569,u3,i3,z",
    "user_id,item_id,timestamp\nu1,i1,1461234567\nu2,i2,1461234568",
    '""Good,"" she said,\n""but, as ever, dear""\nShe, he, they, it agreed',
]


@pytest.mark.parametrize("review", REVIEWS)
@pytest.mark.parametrize("place", range(4))
def test_reviews_of_several_lines_are_read(tmp_path: Path, review: str, place: int) -> None:
    def line(number: int, text: str) -> str:
        values = [f"u{number}", f"i{number}", str(1_461_234_500 + number)]
        return ",".join([*values[:place], text, *values[place:]]) + "\n"

    names = ["user_id", "item_id", "timestamp"]
    text = ",".join([*names[:place], "text", *names[place:]]) + "\n"
    path = tmp_path / "e.csv"
    path.write_text(text + line(1, "x") + line(2, f'"{review}"') + line(3, "x"))
    batches = read_csv(path, names, TextForm(), BadRows())
    found = [row["timestamp"] for batch in batches for row in batch.to_pylist()]
    assert found == [b"1461234501", b"1461234502", b"1461234503"]


def test_titles_with_descriptions_of_several_lines_are_read_and_stray_quotes_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    rows = "item_id,title\nB001,TV\nB002,{}\nB003,Radio\n"
    path.write_text(rows.format('"Soft, warm\nWash cold, dry flat"'))
    assert sum(batch.num_rows for batch in read_csv(path, ["item_id", "title"], TextForm(), BadRows())) == 3
    path.write_text(rows.format('"5 inch TV\nB004,TV 5"'))
    with pytest.raises(InputError, match=r"items.csv, line 3: a quote opens a value that takes in whole rows \(1\)"):
        list(read_csv(path, ["item_id", "title"], TextForm(), BadRows()))


def test_a_row_is_named_by_its_number_where_values_hold_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text('\n"user_id","item_id","time\nstamp"\nu1,i1,"one\ntwo\nthree"\n\nu2,i2\n')
    with pytest.raises(InputError, match=r"e.csv, row 2: Expected 3 columns, got 2: u2,i2; mend or remove the row"):
        list(read_csv(path, ["user_id", "item_id"], TextForm(), BadRows()))


def test_what_is_left_out_does_not_depend_on_the_pieces() -> None:
    """Of rows with quotes anywhere: every line that is passed on is one of the file, in its order."""
    random = numpy.random.default_rng(5)
    for case in range(60):
        rows = [f"u{row},i{row},{row},text {row}" for row in range(random.integers(2, 12))]
        text = HEADER + "\n".join(rows) + "\n"
        for place in sorted(random.integers(len(HEADER), len(text), random.integers(1, 6)), reverse=True):
            text = text[:place] + random.choice(['"', '""', '\n"', '"\r\n', ',"', '",']) + text[place:]
        kinds = RowKinds.of(text.encode(), ",", 4, [0, 1, 2])
        found, refused = set(), set()
        for size in (1, 5, 64, 1 << 20):
            bad_rows = BadRows("drop")
            file = pyarrow.PythonFile(io.BytesIO(text.encode()), mode="r")
            with with_paired_quotes(file, "e.csv", kinds, bad_rows) as stream:
                passed = b"".join(iter(lambda size=size, stream=stream: stream.read(size), b""))
            found.add((passed, bad_rows.dropped[MALFORMED]))
            if case % 15:  # a refusal waits for Arrow's threads
                continue
            file = pyarrow.PythonFile(io.BytesIO(text.encode()), mode="r")
            with suppress(InputError), with_paired_quotes(file, "e.csv", kinds, BadRows()) as stream:
                try:
                    while stream.read(size):
                        pass
                except InputError as error:
                    refused.add(str(error))
                    raise
        assert len(found) == 1, text
        assert case % 15 or len(refused) == (bad_rows.dropped[MALFORMED] > 0), text
        lines = iter(text.encode().splitlines(keepends=True))
        assert all(line in lines for line in passed.splitlines(keepends=True)), text


@pytest.mark.parametrize("start", ["u1,i1,1,", 'u1,"i,1",1,'])
@pytest.mark.parametrize("mode", ["refuse", "drop"])
def test_a_row_without_end_takes_no_more_memory_than_a_block(start: str, mode: str) -> None:
    class Endless(io.RawIOBase):
        read_bytes = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            piece = (start.encode() if not self.read_bytes else b"").ljust(len(buffer), b"x")
            buffer[:] = piece
            self.read_bytes += len(piece)
            return len(piece)

    file = Endless()
    source = pyarrow.PythonFile(file, mode="r")
    with with_paired_quotes(source, "e.csv", RowKinds(",", 4, {2: "order"}), BadRows(mode)) as stream:
        assert stream.read(1 << 20)
    assert file.read_bytes <= 2 * BLOCK_BYTES
