import hashlib
import random
import socket
import threading
import time

import pytest

from ssm4rec.data import download
from ssm4rec.data.download import fetch
from ssm4rec.data.remote import UnreachableError
from ssm4rec.runtime.errors import InputError

CONTENT = random.Random(0).randbytes(3 << 20)
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def hasty(monkeypatch):
    """Wait less between attempts than in earnest."""
    monkeypatch.setattr(download, "_FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def served(server, hasty):
    server.files["/folder/data.zip"] = CONTENT
    return server


def test_downloads_once_and_checks(served, tmp_path):
    address = served.address + "/folder/data.zip"
    fetched = fetch(address, tmp_path, MD5)
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.path.name == "data.zip"
    assert (fetched.bytes, fetched.md5, fetched.sha256, fetched.checksum) == (len(CONTENT), MD5, SHA256, "verified")
    asked = len(served.requests)
    assert fetch(address, tmp_path, MD5) == fetched
    assert len(served.requests) == asked, "a file of the published checksum is not asked for again"


def test_resumes_where_the_connection_broke(served, tmp_path):
    served.faults = ["cut"]
    fetched = fetch(served.address + "/folder/data.zip", tmp_path, MD5)
    assert fetched.checksum == "verified"
    half = f"bytes={len(CONTENT) // 2}-"
    assert served.asked_ranges() == ["", "", half]


def test_resumes_in_a_later_run(served, tmp_path):
    address = served.address + "/folder/data.zip"
    served.faults = ["cut", *[503] * 20]
    with pytest.raises(UnreachableError, match="503"):
        fetch(address, tmp_path, MD5)
    served.faults = []
    served.requests.clear()
    assert fetch(address, tmp_path, MD5).checksum == "verified"
    assert served.asked_ranges() == ["", f"bytes={len(CONTENT) // 2}-"]


def test_begins_again_when_the_file_changed_meanwhile(served, tmp_path):
    address = served.address + "/folder/data.zip"
    served.faults = ["cut", *[503] * 20]
    with pytest.raises(UnreachableError):
        fetch(address, tmp_path)
    served.faults = []
    served.files["/folder/data.zip"] = CONTENT[::-1]
    assert fetch(address, tmp_path).path.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("versions", [True, False])
def test_a_server_without_ranges_does_not_corrupt_the_file(served, tmp_path, versions):
    served.ranges, served.versions = False, versions
    served.faults = ["cut"]
    assert fetch(served.address + "/folder/data.zip", tmp_path, MD5).checksum == "verified"


def test_a_body_that_always_ends_early_is_an_error(served, tmp_path):
    served.ranges = False
    served.faults = ["cut"] * 100
    with pytest.raises(UnreachableError, match="cannot be downloaded"):
        fetch(served.address + "/folder/data.zip", tmp_path)
    assert not list(tmp_path.rglob("data.zip"))


def test_a_busy_server_is_asked_again(served, tmp_path):
    served.faults = [503]
    assert fetch(served.address + "/folder/data.zip", tmp_path, MD5).checksum == "verified"


def test_a_missing_file_is_not_asked_for_again(served, tmp_path):
    with pytest.raises(UnreachableError, match=r"/nothing\.zip: the server answers 404"):
        fetch(served.address + "/nothing.zip", tmp_path)
    assert len(served.requests) == 1


def test_checksum_mismatch_names_both_sums_and_the_flag(served, tmp_path):
    address = served.address + "/folder/data.zip"
    with pytest.raises(InputError, match=f"{MD5}.*{'0' * 32}.*--any-checksum true"):
        fetch(address, tmp_path, "0" * 32)
    assert not list(tmp_path.rglob("data.zip")), "the wrong file does not stay in the cache"
    assert fetch(address, tmp_path, "0" * 32, any_checksum=True).checksum == "accepted unverified"
    with pytest.raises(InputError, match="--any-checksum"):
        fetch(address, tmp_path, "0" * 32)


def test_without_a_checksum_a_newer_version_is_noticed(served, tmp_path):
    address = served.address + "/folder/data.zip"
    assert fetch(address, tmp_path).checksum == "none published"
    assert fetch(address, tmp_path).path.read_bytes() == CONTENT
    served.files["/folder/data.zip"] = b"newer"
    assert fetch(address, tmp_path).path.read_bytes() == b"newer"
    served.faults = [404]
    assert fetch(address, tmp_path).path.read_bytes() == b"newer", "a server that is gone leaves the copy"


def test_a_damaged_cache_is_not_used(served, tmp_path):
    address = served.address + "/folder/data.zip"
    fetch(address, tmp_path, MD5).path.write_bytes(b"short")
    assert fetch(address, tmp_path, MD5).path.read_bytes() == CONTENT


@pytest.mark.parametrize("published", [MD5, None])
def test_what_was_edited_in_the_cache_is_not_used(served, tmp_path, published):
    """Of the same size, and verified when it was downloaded: what is read is hashed, whatever was hashed before."""
    address = served.address + "/folder/data.zip"
    path = fetch(address, tmp_path, published).path
    path.write_bytes(CONTENT[:-1] + b"?")
    fetched = fetch(address, tmp_path, published)
    assert (fetched.path.read_bytes(), fetched.sha256) == (CONTENT, SHA256)


def test_a_changed_file_of_another_checksum_is_downloaded_again(served, tmp_path):
    address = served.address + "/folder/data.zip"
    fetch(address, tmp_path, "0" * 32, any_checksum=True)
    served.files["/folder/data.zip"] = b"newer"
    assert fetch(address, tmp_path, "0" * 32, any_checksum=True).path.read_bytes() == b"newer"


def test_addresses_do_not_share_a_cache_entry(served, tmp_path):
    served.files["/other/data.zip"] = b"other"
    first = fetch(served.address + "/folder/data.zip", tmp_path).path
    second = fetch(served.address + "/other/data.zip", tmp_path).path
    assert (first.read_bytes(), second.read_bytes()) == (CONTENT, b"other")


def test_two_processes_may_fetch_the_same_file(served, tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(served.address + "/folder/data.zip", tmp_path, MD5)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [fetched.checksum for fetched in found] == ["verified"] * 3


def test_secrets_of_an_address_are_not_passed_on(served, tmp_path):
    address = served.address.replace("http://", "http://me:secret@") + "/folder/data.zip?signature=abc"
    assert fetch(address, tmp_path).address == served.address + "/folder/data.zip"


def test_a_refused_connection_and_an_unknown_host_fail_soon(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{unused.getsockname()[1]}/data.zip"
        for address in (refused, "http://no-such-host.invalid/data.zip"):
            begin = time.monotonic()
            with pytest.raises(UnreachableError, match="cannot be downloaded") as raised:
                fetch(address, tmp_path)
            assert time.monotonic() - begin < 10
            assert address in str(raised.value)
            assert "\n" not in str(raised.value)


def test_a_local_file_is_used_in_place(tmp_path):
    path = tmp_path / "with space.zip"
    path.write_bytes(CONTENT)
    for address in (str(path), path.as_uri()):
        assert fetch(address, tmp_path / "cache", MD5).path == path
    with pytest.raises(InputError, match="--any-checksum"):
        fetch(str(path), tmp_path / "cache", "0" * 32)
    assert path.exists(), "the user's own file is never removed"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("address", "message"),
    [("nothing.zip", "nothing.zip: no such file"), ("ftp://host/x", "ftp://host/x: unknown kind of address"),
     ("/", "a folder, not a file")],
)  # fmt: skip
def test_what_is_no_file(tmp_path, address, message):
    with pytest.raises(InputError, match=message):
        fetch(address, tmp_path)


@pytest.fixture
def store(server, hasty, monkeypatch):
    """Answer S3's HEAD and GET of an object, path style, as an S3-compatible store does."""
    server.files["/bucket/folder/data.zip"] = CONTENT
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return server


def test_s3_downloads_and_resumes(store, tmp_path):
    store.faults = ["cut"]
    fetched = fetch("s3://bucket/folder/data.zip", tmp_path, MD5)
    assert (fetched.checksum, fetched.address) == ("verified", "s3://bucket/folder/data.zip")
    assert store.asked_ranges()[-1] == f"bytes={len(CONTENT) // 2}-"


def test_s3_errors(store, tmp_path, monkeypatch):
    with pytest.raises(UnreachableError, match=r"s3://bucket/nothing\.zip: the store answers 404"):
        fetch("s3://bucket/nothing.zip", tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match="cannot be downloaded"):
        fetch("s3://bucket/folder/data.zip", tmp_path)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(UnreachableError, match="no credentials; set AWS_ACCESS_KEY_ID"):
        fetch("s3://bucket/folder/data.zip", tmp_path)
