"""Arrays that may be larger than a process's memory: they lie in a file of TMPDIR, mapped.

The file has no name, so that it goes when the array does, however the process ends. Its pages are the system's, which
drops them where memory is short and reads them again: on a disk they cost a process nothing that it must keep. Where
TMPDIR is memory itself (tmpfs), they do.
"""

import errno
import math
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import numpy
from numpy.typing import NDArray

from ssm4rec.runtime.errors import InputError

IN_MEMORY: Final = 1 << 24
"""Numbers of an array that a process holds itself: 64 or 128 MiB."""

_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM}
"""What a file system says that has, or gives, no more room."""
_CANNOT_RESERVE: Final = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
"""What a file system says that gives room as it is written."""


def joined(
    parts: Iterable[NDArray[Any]], kind: type[numpy.generic], count: int, what: str, in_memory: int = IN_MEMORY
) -> NDArray[Any]:
    """Return arrays one after the other as one, of ``count`` numbers of a ``kind`` in all; a larger one from a file.

    ``what`` it is, for a message. Raise InputError if TMPDIR has no room for it or cannot be written to, before the
    first part is made.
    """
    if count <= in_memory:
        found = list(parts)
        return found[0] if len(found) == 1 else numpy.concatenate(found, dtype=kind)
    with _file(count * numpy.dtype(kind).itemsize, what) as file:
        for part in parts:
            file.write(numpy.ascontiguousarray(part, dtype=kind).data)
        file.flush()
        file.truncate()  # what was reserved and has not come
        if not file.tell():
            return numpy.empty(0, dtype=kind)
        return numpy.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=kind)


def zeros(shape: tuple[int, ...], kind: type[numpy.generic], what: str) -> NDArray[Any]:
    """Return an array to write to; a larger one lies in a file.

    ``what`` it is, for a message. Raise InputError if TMPDIR has no room for it or cannot be written to.
    """
    if math.prod(shape) <= IN_MEMORY:
        return numpy.zeros(shape, dtype=kind)
    size = math.prod(shape) * numpy.dtype(kind).itemsize
    with _file(size, what) as file:
        file.truncate(size)
        return numpy.frombuffer(mmap.mmap(file.fileno(), size), dtype=kind).reshape(shape)


@contextmanager
def _file(size: int, what: str) -> Iterator[IO[bytes]]:
    """Yield a file without a name, with room for so many bytes."""
    folder = os.environ.get("TMPDIR") or tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            _reserve(file, size)
            yield file
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise InputError(
                f"{folder}: cannot be written to ({error.strerror}), where {what} should lie; set TMPDIR to a folder "
                "that can"
            ) from None
        raise InputError(
            f"{folder}: no room for {what}, {size:,} bytes ({error.strerror}); set TMPDIR to a folder of a disk with "
            "as much"
        ) from None


def _reserve(file: IO[bytes], size: int) -> None:
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise
