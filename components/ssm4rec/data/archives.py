"""Members of a zip archive as streams; nothing is ever extracted to disk."""

import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Final

from ssm4rec.data.streams import one_line
from ssm4rec.runtime.errors import InputError

_ENCRYPTED: Final = 1
"""Bit of a member's flags (PKWARE's APPNOTE.TXT, 4.4.4)."""


@contextmanager
def open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """Open ``member`` of the zip file ``archive`` for reading.

    Raise InputError if the archive is missing, truncated, corrupt or locked, has no such member, or names a member that
    would lie outside the folder it is unpacked to. Damage that shows only while the caller reads is reported the same
    way.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
            for name in names:
                if _leaves_folder(name):
                    raise InputError(
                        f"{archive}: the archive's member {name!r} points outside the archive; do not trust this file"
                    )
            if member not in names:
                some = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
                raise InputError(f"{archive}: no {member} in the archive; it holds {some or 'nothing'}")
            if opened.getinfo(member).flag_bits & _ENCRYPTED:
                raise InputError(f"{archive}: {member} is locked with a password; get an archive that is not")
            with opened.open(member) as stream:
                yield stream
    except FileNotFoundError:
        raise InputError(f"{archive}: no such file") from None
    # NotImplementedError is how zipfile refuses a compression method that it does not know.
    # The others, and EINVAL, come of places and sizes in a damaged directory that no file has.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, struct.error, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        reason = one_line(error) or "it ends too early"
        raise InputError(f"{archive}: not a readable zip archive ({reason}); get it again") from None


def _leaves_folder(name: str) -> bool:
    """Tell whether a member's name is absolute or climbs out of its folder, in POSIX or Windows spelling."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    return posix.is_absolute() or bool(windows.drive or windows.root) or ".." in posix.parts or ".." in windows.parts
