import pytest

from ssm4rec.data.archives import open_member
from ssm4rec.runtime.errors import InputError

TEXT = "".join(f"line {number}\n" for number in range(20_000))


def read(path, member="folder/data.txt"):
    with open_member(path, member) as stream:
        return stream.read()


def test_reads_a_member_as_a_stream(archive, tmp_path):
    path = archive(tmp_path / "a.zip", {"folder/data.txt": TEXT, "other": ""})
    assert read(path) == TEXT.encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("name", ["../escape", "a/../../b", "/etc/passwd", "..\\escape", "C:\\x", "\\\\host\\x"])
def test_a_member_that_points_outside_is_refused(archive, tmp_path, name):
    path = archive(tmp_path / "a.zip", {"folder/data.txt": TEXT, name: "x"})
    with pytest.raises(InputError, match="points outside the archive"):
        read(path)


def test_dots_in_a_name_are_no_harm(archive, tmp_path):
    path = archive(tmp_path / "a.zip", {"folder/data.txt": TEXT, "a/..b/c...txt": ""})
    assert read(path) == TEXT.encode()


def test_a_missing_member_names_those_there_are(archive, tmp_path):
    path = archive(tmp_path / "a.zip", {f"file {number}": "" for number in range(9)})
    with pytest.raises(InputError, match=r"no folder/data.txt in the archive; it holds file 0, .*file 7, \.\.\.$"):
        read(path)


def test_truncated_and_corrupt_archives(archive, tmp_path):
    path = archive(tmp_path / "a.zip", {"folder/data.txt": TEXT})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable zip archive"):
        read(path)
    # Damage inside the compressed data, which the directory at the end does not show.
    for place in range(100, len(whole) // 2, len(whole) // 10):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(InputError, match="not a readable zip archive"):
            read(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="not a readable zip archive"):
        read(path)
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.zip")


@pytest.mark.parametrize(
    ("local", "central", "value", "message"),
    [(6, 8, 1, "locked with a password"), (8, 10, 98, "compression method is not supported")],
)
def test_locked_and_unknown_compression(archive, tmp_path, local, central, value, message):
    """Flag bit 0 says encrypted; method 98 is PPMd. Both stand in the member's header and in the directory."""
    path = archive(tmp_path / "a.zip", {"folder/data.txt": TEXT})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x03\x04") + local] = value
    content[content.index(b"PK\x01\x02") + central] = value
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(path)


@pytest.mark.parametrize("place", [b"\x7f" * 4, b"\xff" * 4, b"\x00\x00\x00\x80", b"\xfe\xff\xff\xff"])
def test_a_directory_that_points_nowhere(archive, tmp_path, place):
    """The place of the member in the archive's directory (PKWARE's APPNOTE.TXT, 4.3.12)."""
    path = archive(tmp_path / "a.zip", {"folder/data.txt": TEXT})
    content = bytearray(path.read_bytes())
    begin = content.index(b"PK\x01\x02") + 42
    content[begin : begin + 4] = place
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a readable zip archive"):
        read(path)
