"""Data sets of several row groups, and those whose items lie in a file: the same arrays, and one line if it fails."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy
import polars
import pyarrow.parquet
import pytest

from ssm4rec.artifacts import dataset as dataset_module
from ssm4rec.artifacts.dataset import SPLIT_COLUMNS, SequenceDataset, read_sequences
from ssm4rec.artifacts.interactions import read_times
from ssm4rec.artifacts.items import read_source_ids
from ssm4rec.artifacts.user_blocks import user_blocks
from ssm4rec.data import dataset_writer
from ssm4rec.data.batches import gather_rows
from ssm4rec.data.repeats import training_repeats
from ssm4rec.data.sequences import Sequences
from ssm4rec.data.splitting import leave_one_out
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.large_arrays import joined
from tests.datasets import write_dataset_folder

USERS, ITEMS = 30, 50
HISTORIES = [[(7 * user + step * step) % ITEMS + 1 for step in range(3 + user % 9)] for user in range(USERS)]
HISTORIES[11] *= 20  # more events than a row group
COVERED = [*HISTORIES, list(range(1, ITEMS + 1))]
EVENTS = sum(map(len, COVERED))


def sequences_of(histories: list[list[int]]) -> Sequences:
    lengths = numpy.array([len(one) for one in histories])
    items = numpy.concatenate(histories).astype(numpy.int32)
    return Sequences(
        user_ids=polars.Series([f"u{user}" for user in range(len(histories))]),
        item_ids=polars.Series([f"i{item}" for item in range(1, items.max() + 1)]),
        users=numpy.arange(len(histories), dtype=numpy.int32).repeat(lengths),
        items=items,
        times=numpy.arange(len(items)),
        ratings=polars.Series("rating", [None] * len(items), polars.Float32),
        offsets=numpy.concatenate([[0], lengths.cumsum()]),
    )


def folder_in_groups(folder: Path, events: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a folder whose row groups have up to that many events."""
    write_dataset_folder(folder, COVERED)
    manifest = json.loads((folder / "manifest.json").read_text())
    sequences = sequences_of(COVERED)
    monkeypatch.setattr(dataset_writer, "GROUP_EVENTS", events)
    titles = polars.DataFrame({"title": [None] * ITEMS}, {"title": polars.String})
    told = {name: manifest[name] for name in ("sources", "settings", "filters", "event_order")}
    split = {"name": "leave-one-out"}
    dataset_writer.write_dataset(
        folder, "toy", sequences, leave_one_out(sequences.offsets), titles, {**told, "split": split}
    )
    return folder


def same(found: SequenceDataset, expected: SequenceDataset) -> bool:
    arrays = ("items", "offsets", *SPLIT_COLUMNS)
    assert (found.name, found.fingerprint, found.item_count) == (
        expected.name,
        expected.fingerprint,
        expected.item_count,
    )
    return all(
        numpy.array_equal(getattr(found, name), getattr(expected, name))
        and getattr(found, name).dtype == getattr(expected, name).dtype
        for name in arrays
    )


@pytest.mark.parametrize(("events", "groups"), [(10**6, 1), (EVENTS // 2 + 60, 2), (50, 7)])
@pytest.mark.parametrize("in_memory", [10**6, 0])
def test_groups_read_to_the_same_arrays(
    events: int, groups: int, in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read_sequences(write_dataset_folder(tmp_path / "one", COVERED))
    folder = folder_in_groups(tmp_path / "several", events, monkeypatch)
    file = pyarrow.parquet.ParquetFile(folder / "sequences.parquet")
    assert file.num_row_groups == groups
    monkeypatch.setattr(dataset_module, "BLOCK_EVENTS", 50)
    found = dataset_module._read_sequences(folder, in_memory)
    assert same(found, expected)
    assert len([*found.blocks()]) > 3, "the checks went by several blocks"
    assert not found.items.flags.writeable
    assert read_source_ids(folder).users.to_pylist() == [f"u{user}" for user in range(len(COVERED))]


def test_groups_hold_whole_users_up_to_their_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = pyarrow.parquet.ParquetFile(folder_in_groups(tmp_path / "a", 64, monkeypatch) / "sequences.parquet")
    sizes = [
        [len(row) for row in file.read_row_group(group)["items"].to_pylist()] for group in range(file.num_row_groups)
    ]
    assert [size for own in sizes for size in own] == [len(one) for one in COVERED]
    assert all(sum(own) <= 64 or len(own) == 1 for own in sizes)
    assert all(sum(own) + following[0] > 64 for own, following in pairwise(sizes)), "none too small"


def test_a_file_of_any_size_is_given_back_when_its_array_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    parts = [numpy.arange(5), numpy.arange(0), numpy.arange(5, 9)]
    found = joined(iter(parts), numpy.int64, 9, "numbers", in_memory=0)
    assert found.tolist() == list(range(9))
    assert not list(tmp_path.iterdir()), "it has no name"
    assert len(Path("/proc/self/maps").read_text().split(str(tmp_path))) == 2
    del found
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert not len(joined(iter([]), numpy.int64, 9, "numbers", in_memory=0)), "what does not come is not there"


def test_times_are_read_by_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_in_groups(tmp_path / "data", 64, monkeypatch)
    dataset = read_sequences(folder)
    monkeypatch.setattr("ssm4rec.artifacts.interactions.BLOCK_EVENTS", 50)
    monkeypatch.setattr("ssm4rec.artifacts.interactions.IN_MEMORY", 0)
    found = read_times(folder, dataset)
    assert found.tolist() == list(range(EVENTS))
    assert found.dtype == numpy.int64
    table = pyarrow.parquet.read_table(folder / "interactions.parquet")
    further = pyarrow.concat_tables([table, table.slice(0, 7)])
    for damaged, group in (
        (table.slice(0, EVENTS - 1), 10**6),
        (table.slice(1), 10**6),
        (further, 10**6),
        (further, EVENTS),
    ):
        pyarrow.parquet.write_table(damaged, folder / "interactions.parquet", row_group_size=group)
        for in_memory in (0, 10**6):
            monkeypatch.setattr("ssm4rec.artifacts.interactions.IN_MEMORY", in_memory)
            with pytest.raises(
                InputError, match=r"interactions.parquet: its events are not those of sequences.parquet"
            ):
                read_times(folder, dataset)


def swapped(path: Path) -> None:
    file = pyarrow.parquet.ParquetFile(path)
    groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    table = pyarrow.concat_tables([*groups[1:], groups[0]])
    pyarrow.parquet.write_table(table, path, row_group_size=8)


def bitten(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    file = pyarrow.parquet.ParquetFile(path)
    place = file.metadata.row_group(3).column(1)
    start = place.dictionary_page_offset or place.data_page_offset
    whole[start : start + 40] = b"\xff" * 40
    path.write_bytes(whole)


def emptied(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).slice(0, 0), path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (swapped, "not the sequences of its fingerprint"),
        (bitten, "not a readable Parquet file"),
        (cut, "not a readable Parquet file"),
        (emptied, "empty, not the sequences of a dataset folder"),
    ],
)
@pytest.mark.parametrize("in_memory", [10**6, 0])
def test_damaged_groups(
    damage: Any, says: str, in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_in_groups(tmp_path / "data", 64, monkeypatch)
    damage(folder / "sequences.parquet")
    monkeypatch.setattr(dataset_module, "BLOCK_EVENTS", 50)
    with pytest.raises(InputError) as raised:
        dataset_module._read_sequences(folder, in_memory)
    assert says in str(raised.value)
    assert str(folder / "sequences.parquet") in str(raised.value)
    assert "\n" not in str(raised.value)


@contextmanager
def files_of_up_to(size: int) -> Iterator[None]:
    """Have the system refuse larger files, as a full disk would."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_in_groups(tmp_path / "data", 64, monkeypatch)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with files_of_up_to(1000), pytest.raises(InputError) as raised:
        dataset_module._read_sequences(folder, 0)
    assert str(raised.value) == (
        f"{tmp_path}: no room for the items of {folder}/sequences.parquet, {4 * EVENTS:,} bytes (File too large); "
        "set TMPDIR to a folder of a disk with as much"
    )
    (tmp_path / "file").touch()
    for name, why in (("absent", "No such file or directory"), ("file", "Not a directory")):
        monkeypatch.setenv("TMPDIR", str(tmp_path / name))
        with pytest.raises(InputError) as raised:
            dataset_module._read_sequences(folder, 0)
        assert str(raised.value) == (
            f"{tmp_path}/{name}: cannot be written to ({why}), where the items of {folder}/sequences.parquet should "
            "lie; set TMPDIR to a folder that can"
        )


@pytest.mark.parametrize("users", [3, 10**12])
def test_users_of_the_manifest_that_the_file_does_not_have(
    users: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_in_groups(tmp_path / "data", 64, monkeypatch)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["counts"]["users"] = users
    (folder / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(dataset_module, "BLOCK_EVENTS", 50)
    with pytest.raises(InputError, match=f"parquet: {len(COVERED)} users, manifest.json next to it says {users};"):
        dataset_module._read_sequences(folder, 0)


def test_no_room_is_seen_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def parts() -> Iterator[Any]:
        raise AssertionError("read although there is no room")
        yield

    with files_of_up_to(7 * 1024), pytest.raises(InputError, match="no room for numbers, 8,000 bytes"):
        joined(parts(), numpy.int64, 1000, "numbers", in_memory=0)


LATE = 2**31 + 7
"""The first event of what follows: beyond what 32 bits count."""


def test_a_row_group_counts_its_events_from_its_own_first(monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = numpy.array([0, 2**31 - 1, LATE, LATE + 4, LATE + 7])
    assert [*user_blocks(offsets, 6)] == [slice(user, user + 1) for user in range(4)]
    assert [*user_blocks(offsets, 8)] == [slice(0, 1), slice(1, 2), slice(2, 4)]
    small = sequences_of([[1, 2], [1, 2], [1, 2], [1, 2]])
    many = Sequences(
        **{
            **vars(small),
            "items": numpy.broadcast_to(numpy.int32(1), LATE + 7),  # takes no memory
            "offsets": offsets,
        }
    )
    group = dataset_writer._row_group(many, leave_one_out(offsets), slice(2, 4))
    assert group.column("items").to_pylist() == [[1] * 4, [1] * 3]
    assert group.column("user_id").to_pylist() == ["u2", "u3"]
    assert group.column("test_position").to_pylist() == [3, 2]


def test_places_beyond_32_bits(tmp_path: Path) -> None:
    """Of the sequences that end a data set of more than 2^31 events; a file of nothing stands for the others."""
    few = read_sequences(write_dataset_folder(tmp_path / "data", COVERED))
    path = tmp_path / "items"
    items = numpy.memmap(path, dtype=numpy.int32, mode="w+", shape=(LATE + EVENTS,))
    items[LATE:] = few.items
    many = SequenceDataset(**{**vars(few), "items": items, "offsets": few.offsets + LATE})
    users, places = many.targets("test")
    assert numpy.array_equal(items[many.offsets[users] + places], few.items[few.offsets[users] + places])
    assert numpy.array_equal(
        gather_rows(items, many.offsets[:-1], numpy.diff(many.offsets)),
        gather_rows(few.items, few.offsets[:-1], numpy.diff(few.offsets)),
    )
    assert numpy.array_equal(many.training_counts(), few.training_counts())
    assert training_repeats(many) == training_repeats(few)
    assert numpy.array_equal(many.training_alone().items, few.training_alone().items)
