"""What a server reads of a model's folder, and what it says at once where it cannot start."""

import os
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

from ssm4rec.artifacts.popularity import read_popularity, write_popularity
from ssm4rec.runtime.errors import InputError
from ssm4rec.serving.__main__ import build_parser, open_store, run
from ssm4rec.serving.champion import FACTS, read_champion
from ssm4rec.serving.engine import Engine
from ssm4rec.serving.store import Change, MemoryStore, Stored
from tests.redis_server import redis_server
from tests.serving.serving_models import write_champion


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_champion(tmp_path_factory.mktemp("champion"), items=12)


def test_a_model_folder_says_what_it_is_and_how_popular_its_items_are(folder: Path) -> None:
    made = time.time() - 5000
    os.utime(folder / "model.safetensors", (made, made))
    champion = read_champion(folder, None)
    assert champion.popularity is not None
    assert champion.popularity.tolist() == [float(item) for item in range(1, 13)]
    assert tuple(champion.facts) == FACTS
    assert (champion.facts["model"], champion.facts["dataset"]) == ("2mamba4rec", "toy")
    assert champion.made == pytest.approx(made)
    assert champion.recommender.catalog.find("Film 3") == 3


def test_a_folder_without_a_model_is_refused_in_the_words_of_who_serves(folder: Path, tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "none", folder / "config.json", folder.parent):
        with pytest.raises(
            InputError, match=r": neither a champion \(MLmodel\) nor a model folder \(config\.json\); name"
        ):
            read_champion(wrong, None)


def test_a_popularity_of_ones_own_is_matched_by_item_id(folder: Path, tmp_path: Path) -> None:
    """In another order, with an item that the model does not know; items that are not named come last, in order."""
    write_popularity(tmp_path / "own.parquet", {"i3": 7.5, "other": 2.0, "i1": 9.0})
    champion = read_champion(folder, tmp_path / "own.parquet")
    assert champion.popularity is not None
    scores = champion.popularity.tolist()
    assert (scores[0], scores[2]) == (9.0, 7.5)
    rest = [scores[1], *scores[3:]]
    assert rest == pytest.approx([2.0] * 10)
    assert sorted({*rest}, reverse=True) == rest


def test_ties_in_popularity_do_not_depend_on_how_many_are_wanted(folder: Path, tmp_path: Path) -> None:
    """Nor on other rows of the request; a score that float32 cannot hold is refused, not turned into infinity."""
    path = tmp_path / "own.parquet"
    write_popularity(path, {f"i{item}": 1.0 for item in range(12, 2, -1)})
    champion = read_champion(folder, path)
    engine = Engine(champion.recommender, MemoryStore(), champion.popularity)
    first, second = engine.answer([{"history": [], "k": 4}, {"history": [], "k": 12}])
    assert first.recommendations.item_ids == ["i3", "i4", "i5", "i6"]
    assert second.recommendations.item_ids == [f"i{item}" for item in (*range(3, 13), 1, 2)]
    write_popularity(path, {"i1": 1e300, "i2": 1.0})
    with pytest.raises(InputError, match=r"own\.parquet: the score of item i1 is 1e\+300, more than .*; scale them"):
        read_champion(folder, path)


def test_popularity_of_other_data_or_named_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    write_popularity(tmp_path / "other.parquet", {"x": 1.0})
    with pytest.raises(InputError, match=r"other\.parquet: none of its items is one of the model's"):
        read_champion(folder, tmp_path / "other.parquet")
    with pytest.raises(InputError, match=r"missing\.parquet: no such file"):
        read_champion(folder, tmp_path / "missing.parquet")
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "other.parquet")
    pyarrow.parquet.write_table(pyarrow.concat_tables([table, table]), tmp_path / "twice.parquet")
    with pytest.raises(InputError, match="several rows have one item_id"):
        read_popularity(tmp_path / "twice.parquet")


def test_the_store_that_a_flag_names_knows_what_it_was_told_before(tmp_path: Path) -> None:
    """Two runs of a server after each other: only memory has forgotten."""
    kept = Stored(1, b"record")
    with redis_server(tmp_path) as address:
        for where, after in (("memory", {}), (str(tmp_path / "users.sqlite"), {"u": kept}), (address, {"u": kept})):
            for before in ({}, after):
                with closing(open_store(where)) as store:
                    assert store.read(["u"]) == before
                    store.write({"u": Change(0, kept)})


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("http://example.org", r"http://example\.org: write memory, the path of an SQLite file, or redis://"),
        ("redis:/localhost", "redis:/localhost: write memory"),
        ("nowhere/users.sqlite", r"unable to open database file\); its folder must exist, be writable"),
    ],
)
def test_a_store_that_cannot_be_is_refused_with_its_flag(where: str, why: str) -> None:
    with pytest.raises(InputError, match=rf"^--store: {why}|^--store: .*{why}"):
        open_store(where)


def test_a_server_that_cannot_start_says_why_before_it_reads_the_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = build_parser().parse_args([str(folder)])
    with pytest.raises(InputError, match="kserve is not installed here; `make serve MODEL="):
        run(options)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        options = build_parser().parse_args([str(folder), "--port", str(other.getsockname()[1])])
        with pytest.raises(InputError, match=r"--host 127\.0\.0\.1 --port \d+: Address already in use; choose another"):
            run(options)
    for flags, line in (
        (["--port", "0"], "--port 0: at least 1"),
        (["--max-body", "x"], "--max-body x: write a whole number"),
        (["--name", "a/b"], "--name a/b: letters, digits"),
    ):
        with pytest.raises(InputError, match=line):
            build_parser().parse_args([str(folder), *flags])
