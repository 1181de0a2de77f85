"""Local files as streams of bytes in UTF-8: decompressed and decoded while they are read, their faults in one line."""

import codecs
import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Final, cast

import pyarrow

from ssm4rec.runtime.errors import InputError

# The longest row of a CSV or JSONL file, and the piece that is parsed at a time. Raw Amazon reviews reach 100 kB a row.
BLOCK_BYTES: Final = 16 << 20

DELIMITERS: Final = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|", "space": " "}

# By their first bytes. What Arrow cannot decompress is named, so that the message says what to do.
_COMPRESSED: Final = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_FOREIGN: Final = {
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"PK\x05\x06": "an empty zip archive",
    b"\xfd7zXZ\x00": "compressed with xz; decompress it, or compress it with gzip, bz2 or zstd",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"PAR1": "a Parquet file; set --format parquet",
}
# In this order: UTF-32's little-endian mark begins with UTF-16's.
_MARKED: Final = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip

# Not U+FFFD, which honest texts hold: values with this one are known to have been damaged here.
UNDECODABLE: Final = "\U0010ffff"
_MARKING: Final = "ssm4rec-undecodable"
_LONGEST_WAIT_SECONDS: Final = 0.2
codecs.register_error(_MARKING, lambda error: (UNDECODABLE, cast("UnicodeDecodeError", error).end))


@dataclass(frozen=True)
class TextForm:
    """How text files are written, as ``settings/data.py`` describes it."""

    delimiter: str = "auto"
    encoding: str = "auto"


@contextmanager
def open_text(path: Path, encoding: str = "auto", *, replace: bool = False) -> Iterator[pyarrow.NativeFile]:
    """Open a text file as UTF-8 without a byte order mark.

    UTF-8 is passed on unchecked: columns that nobody reads may hold anything. ``replace``: put ``UNDECODABLE`` for
    bytes that are not text in the encoding, instead of an error.
    """
    with ExitStack() as opened:
        stream = opened.enter_context(_decompressed(path))
        start = stream.read(4)
        marked = next((name for mark, name in _MARKED.items() if start.startswith(mark)), "utf-8")
        name = codecs.lookup(marked if encoding == "auto" else encoding).name
        stream = opened.enter_context(_decompressed(path))
        if name == "utf-8" and not replace:
            if start.startswith(codecs.BOM_UTF8):
                stream.read(len(codecs.BOM_UTF8))
            yield stream
        else:
            convert = opened.enter_context(interruptible(_to_utf8(name, replace)))
            yield opened.enter_context(pyarrow.TransformInputStream(stream, convert))


@contextmanager
def open_stream(stream: IO[bytes], *, mark: bool = False) -> Iterator[pyarrow.NativeFile]:
    """Give Arrow an open binary file in UTF-8, such as a member of an archive.

    ``mark``: put ``UNDECODABLE`` where it is not UTF-8: a row that Arrow shows to the handler of bad rows must be text.
    """
    with interruptible(stream.read) as read:
        # Closing it is left to whoever opened it.
        file = pyarrow.PythonFile(SimpleNamespace(read=read, closed=False, close=lambda: None), mode="r")
        if mark:
            with interruptible(_to_utf8("utf-8", replace=True)) as convert:
                yield pyarrow.TransformInputStream(file, convert)
        else:
            yield file


@contextmanager
def interruptible(call: Callable[..., bytes]) -> Iterator[Callable[..., bytes]]:
    """Give what calls ``call`` until the block is left, and fails then.

    Arrow reads ahead in threads of its own, also after an error. One that is in Python code while the interpreter ends
    aborts the process.
    """
    lock, ended = threading.Lock(), threading.Event()
    stopped = False

    def guarded(*arguments: Any) -> bytes:
        with lock:
            if stopped:
                ended.set()
                raise EOFError("no longer read")
            return call(*arguments)

    try:
        yield guarded
    except BaseException:
        with lock:
            stopped = True
        ended.wait(_LONGEST_WAIT_SECONDS)
        raise


def _to_utf8(encoding: str, replace: bool) -> Callable[[pyarrow.Buffer], bytes]:
    """Return what turns the pieces of a file, the last one empty, into UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)(_MARKING if replace else "strict")
    begun = False

    def convert(piece: pyarrow.Buffer) -> bytes:
        nonlocal begun
        text = decoder.decode(bytes(piece), final=not len(piece))
        if text and not begun:
            begun, text = True, text.removeprefix("\ufeff")
        return text.encode()

    return convert


@contextmanager
def _decompressed(path: Path) -> Iterator[pyarrow.NativeFile]:
    with path.open("rb") as file:
        start = file.read(8)
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            raise InputError(f"{path}: {what}")
    compression = next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), None)
    with pyarrow.OSFile(str(path)) as file:
        if compression is None:
            yield file
        else:
            with pyarrow.CompressedInputStream(file, compression) as stream:
                yield stream


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read (missing, a folder, damaged, of another format) into an InputError."""
    if path.is_dir():
        raise InputError(f"{path}: a folder, not a file")
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeError as error:
        raise InputError(f"{path}: not text in the expected encoding ({one_line(error)}); set --encoding") from None
    except (pyarrow.ArrowException, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: not readable ({one_line(error)}); check --format or get the file again") from None
    except OSError as error:
        if error.errno is not None:
            raise
        # Arrow reports a damaged gzip stream or Parquet page this way.
        raise InputError(f"{path}: not readable ({one_line(error)}); get the file again") from None


def one_line(error: BaseException) -> str:
    """Return the message of an error of a library as one printable line of bounded length."""
    return excerpt(" ".join(str(error).split()), 300)


def excerpt(text: str, longest: int = 60) -> str:
    """Return a text of a file for a message: cut, and with its control characters escaped."""
    text = text.replace(UNDECODABLE, "\ufffd")
    cut = text if len(text) <= longest else text[:longest] + "..."
    return cut if cut.isprintable() else ascii(cut)[1:-1]
