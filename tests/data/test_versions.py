"""States of sources: what tells a changed file from the same one, at every kind of address."""

import json
import os

import pytest

from ssm4rec.data.download import fetch
from ssm4rec.data.remote import MissingError, UnreachableError
from ssm4rec.data.versions import (
    UnknownStateError,
    check_unchanged,
    file_state,
    find_versions,
)
from ssm4rec.runtime.errors import InputError


@pytest.fixture
def clicks(tmp_path):
    path = tmp_path / "clicks.csv"
    path.write_text("a,b\n")
    return path


def test_a_file_is_told_by_size_and_time(clicks):
    first = file_state(str(clicks))
    os.utime(clicks, ns=(0, 1_700_000_000_123_456_789))
    assert file_state(str(clicks)) == "4 bytes, modified 2023-11-14T22:13:20.123456789Z" != first
    os.utime(clicks, ns=(0, 1_700_000_000_123_456_788))
    assert file_state(clicks.as_uri()).endswith(".123456788Z")
    clicks.write_text("a,b,c\n")
    os.utime(clicks, ns=(0, 1_700_000_000_123_456_788))
    assert file_state(str(clicks)).startswith("6 bytes, ")
    os.utime(clicks, ns=(0, 10_413_792_000_000_000_001))  # later than 64 bits of nanoseconds reach
    assert file_state(str(clicks)).endswith("modified 2300-01-01T00:00:00.000000001Z")


@pytest.mark.parametrize("address", ["", "*.csv"])
def test_a_folder_and_a_pattern_are_told_by_all_their_files(tmp_path, address):
    source = str(tmp_path / address)
    for name in ("mon.csv", "tue.csv"):
        (tmp_path / name).write_text("a,b\n")
    states = [file_state(source)]
    assert states[0].startswith("2 files, 8 bytes, names and times ")
    assert file_state(source) == states[0]
    for name in (".mon.csv.swp", "_SUCCESS.csv"):
        (tmp_path / name).write_text("nobody's")
    assert file_state(source) == states[0]
    os.utime(tmp_path / "tue.csv", ns=(0, 1))
    states.append(file_state(source))
    (tmp_path / "tue.csv").rename(tmp_path / "wed.csv")
    states.append(file_state(source))
    (tmp_path / "wed.csv").unlink()
    states.append(file_state(source))
    assert len(set(states)) == 4


@pytest.mark.parametrize("address", ["nothing.csv", "nothing/", "no*.csv"])
def test_what_is_not_there_is_refused(tmp_path, address):
    with pytest.raises(InputError, match=r"no (such file|file fits); check --source"):
        file_state(f"{tmp_path}/{address}")


def test_http_by_etag_and_size_without_reading_the_file(server, tmp_path):
    server.files["/a.csv"] = b"x" * (8 << 20)
    state = file_state(server.address + "/a.csv", tmp_path)
    assert state.startswith('version "')
    assert state.endswith(f", {8 << 20} bytes")
    server.files["/a.csv"] = b"y" * (8 << 20)
    assert file_state(server.address + "/a.csv", tmp_path) != state
    assert not any(tmp_path.iterdir()), "nothing is kept"


def test_a_server_that_tells_no_version_is_unknown(server):
    server.versions = False
    server.files["/a.csv"] = b"1234"
    with pytest.raises(UnknownStateError, match="its server tells no version but the size"):
        file_state(server.address + "/a.csv")
    address = server.address.replace("http://", "http://me:secret@") + "/a.csv?signature=abc"
    version, (note,) = find_versions([address], file_state)
    assert json.loads(version) == {server.address + "/a.csv": "unknown, 4 bytes"}
    assert note.startswith(f"{server.address}/a.csv: its server tells no version")
    for secret in ("secret", "abc"):
        assert secret not in version + note


def test_what_no_server_has_is_refused_and_one_that_is_away_is_unknown(server, tmp_path):
    with pytest.raises(MissingError, match=r"/nothing\.csv: the server answers 404"):
        file_state(server.address + "/nothing.csv", tmp_path)
    server.files["/a.csv"] = b"1234"
    server.faults = [403]
    with pytest.raises(UnreachableError, match="403"):
        file_state(server.address + "/a.csv", tmp_path)
    with pytest.raises(UnknownStateError, match="cannot be asked"):
        file_state("http://127.0.0.1:9/a.csv", tmp_path)
    with pytest.raises(InputError, match="unknown kind of address"):
        file_state("ftp://host/a.csv", tmp_path)


@pytest.mark.parametrize("fault", [404, 403, 503])
def test_while_a_server_is_away_the_copy_is_what_counts(server, tmp_path, fault):
    address = server.address + "/a.csv"
    server.files["/a.csv"] = b"1234"
    fetch(address, tmp_path)
    state = file_state(address, tmp_path)
    server.files["/a.csv"] = b"5678"
    server.faults = [fault]
    assert file_state(address, tmp_path) == state
    assert file_state(address, tmp_path) != state


def test_s3_by_etag(server, monkeypatch):
    for name, value in (("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_DEFAULT_REGION", "r")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
    server.files["/bucket/a.csv"] = b"1234"
    state = file_state("s3://bucket/a.csv")
    server.files["/bucket/a.csv"] = b"5678"
    assert file_state("s3://bucket/a.csv") != state
    with pytest.raises(MissingError, match="404"):
        file_state("s3://bucket/b.csv")


def test_what_stayed_passes_and_what_changed_is_named(clicks):
    other = clicks.with_name("other.csv")
    other.write_text("b")
    addresses = [str(clicks), str(other), str(clicks)]
    version, _ = find_versions(addresses, file_state)
    check_unchanged(version, addresses, file_state)
    for text in ("", "monday", "[1]", "7"):
        check_unchanged(text, addresses, file_state)
    other.write_text("c d")
    with pytest.raises(InputError) as refused:
        check_unchanged(version, addresses, file_state)
    line = str(refused.value)
    assert line.startswith(f"{other}: changed while the run read it (was 1 bytes, modified ")
    assert line.endswith("; start it again")
    assert "\n" not in line
    assert find_versions([], file_state) == ("", [])


def test_what_is_unknown_is_not_compared(server, tmp_path):
    address = server.address + "/a.csv"
    server.files["/a.csv"] = b"1234"
    known, _ = find_versions([address], file_state)
    server.versions = False
    unknown, _ = find_versions([address], file_state)
    server.files["/a.csv"] = b"other"
    check_unchanged(known, [address], file_state)
    server.versions = True
    check_unchanged(unknown, [address], file_state)
    with pytest.raises(InputError, match="changed while the run read it"):
        check_unchanged(known, [address], file_state)


def test_addresses_that_differ_in_what_is_not_shown_are_told_apart(server):
    server.files["/download"] = b"1234"
    addresses = [f"{server.address}/download?id={number}" for number in (1, 2)]
    states = iter(("one", "two", "one", "other"))
    version, _ = find_versions(addresses, lambda _: next(states))
    assert json.loads(version) == {f"{server.address}/download": "one", f"{server.address}/download (2)": "two"}
    with pytest.raises(InputError, match=r"/download \(2\): changed while the run read it \(was two; is other\)"):
        check_unchanged(version, addresses, lambda _: next(states))


def test_many_sources_have_a_short_version(tmp_path):
    paths = [tmp_path / f"{day}.csv" for day in range(900)]
    for path in paths:
        path.write_text("a,b\n")
    version, _ = find_versions(map(str, paths), file_state)
    assert len(version) < 200
    check_unchanged(version, map(str, paths), file_state)
    os.utime(paths[700], ns=(0, 1))
    with pytest.raises(InputError, match="one of 900 sources changed while the run read them; start it again"):
        check_unchanged(version, map(str, paths), file_state)
