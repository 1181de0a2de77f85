import hashlib
import random

import polars
import pytest

from ssm4rec.data import download, movielens
from ssm4rec.data.data_sets import check_data_set
from ssm4rec.data.movielens import read_movielens
from ssm4rec.data.source import SourceOptions
from ssm4rec.runtime.errors import InputError

RATINGS = [
    (chance.randrange(1, 30), chance.randrange(1, 20), chance.randrange(1, 6), 880_000_000 + chance.randrange(1000))
    for chance in [random.Random(7)]
    for _ in range(200)
]
TITLES = {str(item): f"Amélie {item}: the film (2001)" for item in range(1, 20)}


def lines(rows, separator):
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def ml_100k():
    flags = [int(place in (3, 5)) for place in range(19)]
    movies = [(item, title, "01-Jan-1995", "", "http://x", *flags) for item, title in TITLES.items()]
    return {"ml-100k/u.data": lines(RATINGS, "\t"), "ml-100k/u.item": lines(movies, "|").encode("latin-1")}


def ml_1m():
    movies = [(item, title, "Animation|Comedy") for item, title in TITLES.items()]
    return {"ml-1m/ratings.dat": lines(RATINGS, "::"), "ml-1m/movies.dat": lines(movies, "::").encode("latin-1")}


def ml_20m():
    movies = "".join(f'{item},"{title}",Animation|Comedy\n' for item, title in TITLES.items())
    return {
        "ml-20m/ratings.csv": "userId,movieId,rating,timestamp\n" + lines(RATINGS, ","),
        "ml-20m/movies.csv": ("movieId,title,genres\n" + movies).encode(),
    }


def recbole():
    folder = "recbole/dataset_example/ml-100k/ml-100k"
    movies = [(item, title, 2001, "Animation Comedy") for item, title in TITLES.items()]
    return {
        f"{folder}.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + lines(RATINGS, "\t"),
        f"{folder}.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        + lines(movies, "\t"),
    }


def assert_holds_the_ratings(source):
    frame = source.interactions.frame.cast({"user": polars.String, "item": polars.String})
    expected = [(str(user), str(item), second * 1_000_000, rating) for user, item, rating, second in RATINGS]
    assert frame.rows() == expected
    titles = polars.concat(source.titles)
    assert dict(titles.select("item_id", "title").rows()) == TITLES
    assert set(titles["words"]) == {"Animation Comedy"}


@pytest.mark.parametrize(("name", "members"), [("ml-100k", ml_100k), ("ml-1m", ml_1m), ("ml-20m", ml_20m)])
def test_reads_the_published_layout(archive, tmp_path, name, members):
    path = archive(tmp_path / "archive.zip", members())
    source = read_movielens(SourceOptions(name, tmp_path, str(path), any_checksum=True))
    assert_holds_the_ratings(source)
    assert [file.checksum for file in source.files] == ["accepted unverified"]


def test_another_archive_needs_the_flag(archive, tmp_path):
    path = archive(tmp_path / "archive.zip", ml_1m())
    with pytest.raises(
        InputError, match=r"the published one is c4d9eecfca2ab87c1945afe126590906; .*--any-checksum true"
    ):
        read_movielens(SourceOptions("ml-1m", tmp_path, str(path)))


def test_damage_that_shows_only_while_reading(archive, tmp_path):
    path = archive(tmp_path / "archive.zip", ml_1m())
    whole = path.read_bytes()
    path.write_bytes(whole[:300] + b"damage" + whole[306:])
    with pytest.raises(InputError, match="not a readable zip archive"):
        _ = read_movielens(SourceOptions("ml-1m", tmp_path, str(path), any_checksum=True)).interactions


def test_a_bad_row_in_an_archive_is_named(archive, tmp_path):
    for ratings, message in (("1::2::3\n", "row 1: Expected 7 columns"), ("1::2::x::5\n", "row 1: not a rating")):
        path = archive(tmp_path / "archive.zip", ml_1m() | {"ml-1m/ratings.dat": ratings})
        with pytest.raises(InputError, match=message):
            _ = read_movielens(SourceOptions("ml-1m", tmp_path, str(path), any_checksum=True)).interactions


@pytest.mark.parametrize("movies", ["x" * (1 << 19), ("1::" + "a" * 60_000 + "\n") * 400])
def test_a_list_of_films_without_end_is_refused(archive, tmp_path, movies):
    path = archive(tmp_path / "archive.zip", ml_1m() | {"ml-1m/movies.dat": movies})
    source = read_movielens(SourceOptions("ml-1m", tmp_path, str(path), any_checksum=True))
    with pytest.raises(InputError, match=r"movies\.dat: a line is longer than 256 KiB, or the file than 16 MiB"):
        list(source.titles)


def test_a_title_that_is_not_text_is_named(archive, tmp_path):
    movies = b"movieId,title,genres\n1,Heat,Drama\n2,Am\xe9lie,Comedy\n"
    path = archive(tmp_path / "archive.zip", ml_20m() | {"ml-20m/movies.csv": movies})
    source = read_movielens(SourceOptions("ml-20m", tmp_path, str(path), any_checksum=True))
    with pytest.raises(InputError, match=r"archive\.zip:ml-20m/movies\.csv, line 3: not text in utf-8 \(.*0xe9"):
        list(source.titles)


def test_bad_rows_of_an_archive_are_dropped(archive, tmp_path):
    text = ml_1m()["ml-1m/ratings.dat"] + "1::2::x::880000000\n1::2\n::2::3::880000000\n"
    ratings = text.encode() + b"\xf1::2\n\xf1::2::3::880000000\n"
    path = archive(tmp_path / "archive.zip", ml_1m() | {"ml-1m/ratings.dat": ratings})
    source = read_movielens(SourceOptions("ml-1m", tmp_path, str(path), any_checksum=True, bad_rows="drop"))
    assert_holds_the_ratings(source)
    assert dict(source.dropped) == {
        "malformed row": 2,
        "user id missing": 1,
        "user id not readable": 1,
        "rating not readable": 1,
    }


def test_titles_are_in_the_archive(tmp_path):
    with pytest.raises(InputError, match="--items-source: the titles of ml-1m are in its archive"):
        check_data_set(SourceOptions("ml-1m", tmp_path, items_source="titles.csv"))


@pytest.fixture
def only_an_index(archive, tmp_path, monkeypatch):
    """Cut this process off from GroupLens and give pip a folder with a wheel of RecBole's layout."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(download, "_FIRST_WAIT_SECONDS", 0.01)
    index = tmp_path / "index"
    index.mkdir()
    info = "recbole-1.2.1.dist-info"
    members = recbole() | {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return archive(index / "recbole-1.2.1-py3-none-any.whl", members)


def test_ml_100k_falls_back_to_the_package_index(only_an_index, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(movielens, "_WHEEL_SHA256", hashlib.sha256(only_an_index.read_bytes()).hexdigest())
    for _ in range(2):  # the second time from the cache
        source = read_movielens(SourceOptions("ml-100k", tmp_path / "cache"))
        assert_holds_the_ratings(source)
        assert [(file.address, file.checksum) for file in source.files] == [("pip:recbole==1.2.1", "verified")]
        only_an_index.unlink(missing_ok=True)
    assert "cannot be reached; taking ML-100K from the package index (recbole==1.2.1)" in caplog.text


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda whole: whole[:-1] + b"?"])
def test_a_damaged_wheel_in_the_cache_is_fetched_again(only_an_index, tmp_path, monkeypatch, damage):
    whole = only_an_index.read_bytes()
    monkeypatch.setattr(movielens, "_WHEEL_SHA256", hashlib.sha256(whole).hexdigest())
    options = SourceOptions("ml-100k", tmp_path / "cache")
    (kept,) = (file.path for file in read_movielens(options).files)
    kept.write_bytes(damage(whole))
    assert_holds_the_ratings(read_movielens(options))
    assert kept.read_bytes() == whole
    kept.write_bytes(damage(whole))
    only_an_index.unlink()
    with pytest.raises(InputError, match=r"the package index does not give recbole==1\.2\.1"):
        read_movielens(options)


def test_another_wheel_than_the_published_one_is_refused(only_an_index, tmp_path):
    with pytest.raises(
        InputError, match=r"GroupLens cannot be reached, and the package index does not give recbole==1\.2\.1"
    ) as raised:
        read_movielens(SourceOptions("ml-100k", tmp_path / "cache"))
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "cache").rglob("*.whl"))


def test_only_ml_100k_has_a_fallback(only_an_index, tmp_path):
    with pytest.raises(InputError, match=r"movielens/ml-1m.zip: cannot be downloaded .*set --source"):
        read_movielens(SourceOptions("ml-1m", tmp_path / "cache"))
    with pytest.raises(InputError, match=r"mirror\.invalid"):
        read_movielens(SourceOptions("ml-100k", tmp_path / "cache", "https://mirror.invalid/ml-100k.zip"))
