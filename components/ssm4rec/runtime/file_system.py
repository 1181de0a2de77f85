"""What outputs need of a file system: locks that end with their process, and content that survives a loss of power."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Final

_NO_SYNC: Final = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF}
"""What a file system says that cannot do it, such as one over an object store."""


class Lock(Enum):
    """What came of a try to lock a file or folder."""

    HELD = "by this process"
    TAKEN = "by another process"
    NONE = "the file system has no locks"


@contextmanager
def try_lock(path: Path) -> Iterator[Lock]:
    """Try to lock a file or folder while the block runs; the lock ends with the process, however that ends."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock = Lock.TAKEN
        except OSError:
            lock = Lock.NONE
        else:
            lock = Lock.HELD
        yield lock
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Have all files of a folder, those of folders below too, and their names on the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk: a rename alone does not survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)
