"""Outputs that appear whole or not at all: write under a temporary name, then rename; where downloads are kept.

A folder written here holds ``.ssm4rec.json``: which stage wrote it, and its files. Only a folder that says so and holds
nothing else is ever replaced, so that no output path destroys what is not ours. Temporary names are
``.NAME.partial-XXXXXXXX``, locked by their writer (flock): those of a killed one are removed by the next that writes
NAME.
"""

import hashlib
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from ssm4rec.runtime.errors import InputError, reason
from ssm4rec.runtime.file_system import Lock, sync, sync_folder, try_lock

_LONGEST_NUMBER: Final = 100
"""Digits of a whole number in a JSON file; nothing that is counted has as many."""

MARKER: Final = ".ssm4rec.json"

STUDY: Final = "study"
"""What a study's folder says instead of a stage; it is never replaced, and gains files."""


@contextmanager
def whole_folder(target: Path, stage: str, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary folder next to ``target`` that becomes ``target`` when the block succeeds, else is removed.

    ``shared``: several processes may write it, as in a cache of downloads; the first one's stays. Raise InputError if
    ``target`` is there and neither empty nor what ``stage`` wrote earlier, or another process is writing it.
    """
    target = target.absolute()
    refuse_foreign_folder(target, stage)
    with _partial(target, make_folder, shared) as partial:
        yield partial
        marker = {"stage": stage, "files": _files(partial)}
        (partial / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
        sync_folder(partial)
        if shared and target.is_dir():
            return
        refuse_foreign_folder(target, stage)
        old = partial.with_name(f"{partial.name}-old")
        if target.exists():
            target.rename(old)
        partial.rename(target)
        sync(target.parent)
        _remove(old)


@contextmanager
def whole_file(target: Path, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary file, empty, next to ``target`` that replaces ``target`` when the block succeeds.

    ``shared``: several processes may write it at the same time, as in a cache of downloads; the last one's stays. Raise
    InputError if ``target`` is there and no regular file, or another process is writing it.
    """
    target = target.absolute()
    refuse_other_than_file(target)
    with _partial(target, Path.touch, shared) as partial:
        yield partial
        sync(partial)
        refuse_other_than_file(target)
        partial.replace(target)
        sync(target.parent)


def refuse_foreign_folder(target: Path, stage: str) -> None:
    """Raise InputError unless ``target`` is missing, an empty folder, or all of it was written by ``stage``."""
    if not _refuse_other_than(target, stat.S_ISDIR, "a folder") or not any(target.iterdir()):
        return
    way_out = "choose another path, or remove it yourself"
    writer, files = folder_marker(target)
    if not writer:
        raise InputError(f"{target}: a folder that {stage} did not write ({MARKER} is not in it); {way_out}")
    if writer != stage:
        raise InputError(f"{target}: a folder that {writer} wrote, not {stage}; {way_out}")
    for name in _files(target):
        if name != MARKER and name not in files:
            raise InputError(f"{target}: {name!r} in it was not written by {stage}, which would replace it; {way_out}")


def folder_marker(folder: Path) -> tuple[str, set[str]]:
    """Return the stage that a folder says wrote it, "" if it says nothing, and its files."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        stage, files = str(marker["stage"]), marker.get("files", ())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", set()
    return stage, set(map(str, files)) if isinstance(files, list) else set()


def refuse_other_than_file(target: Path) -> None:
    """Raise InputError unless ``target`` is missing or a regular file."""
    _refuse_other_than(target, stat.S_ISREG, "a file")


@contextmanager
def held_by_this_process(
    folder: Path,
    refusal: str = "another process trains with these checkpoints; wait for it, or choose another --checkpoint-dir",
) -> Iterator[None]:
    """Make a folder and keep other processes that call this out of it while the block runs.

    What was made and is still empty when the block ends is removed: what is refused leaves no folder. Raise InputError
    if another process holds it; ``refusal`` says so of the folder.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    make_folder(folder)
    try:
        with try_lock(folder.resolve()) as lock:  # a link to a folder, on a larger disk, is as good
            if lock is Lock.TAKEN:
                raise InputError(f"{folder}: {refusal}")
            yield
    finally:
        for place in made:
            with suppress(OSError):  # not empty
                place.rmdir()


def move_into_place(folder: Path, target: Path) -> None:
    """Rename a finished folder to ``target``, where nothing is, on the same file system; durable when it returns."""
    sync_folder(folder)
    folder.rename(target)
    sync(target.parent)


def make_folder(folder: Path) -> None:
    """Make an output folder and its parents; raise InputError if that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another output folder") from None


def cache_folder(chosen: str) -> Path:
    """Return the folder of downloads: the one chosen or, for "", $XDG_CACHE_HOME/ssm4rec or ~/.cache/ssm4rec."""
    return Path(chosen or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/ssm4rec").expanduser()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(target: Path, document: Any) -> None:
    """Write ``document`` as indented JSON, whole or not at all."""
    with whole_file(target) as partial:
        partial.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file; raise InputError if it is missing or not JSON that every reader takes for the same.

    Refused with the rest: NaN and infinity, numbers that overflow, a key that stands twice, half a surrogate pair.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(
            text, parse_constant=_no_number, parse_float=_finite, parse_int=_whole, object_pairs_hook=_distinct
        )
        if "\\u" in text:
            json.dumps(document, ensure_ascii=False).encode()
        return document
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a JSON file ({reason(error)})") from None
    except RecursionError:
        raise InputError(f"{path}: not a JSON file (nested too deeply)") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large")
    return number


def _whole(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice")
    return document


def _refuse_other_than(target: Path, is_wanted: Callable[[int], bool], wanted: str) -> bool:
    """Return whether ``target`` exists; raise InputError if it is not what is wanted."""
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror}); choose another path") from None
    if stat.S_ISLNK(mode):
        raise InputError(f"{target}: a link to {target.readlink()}; give the path that it leads to")
    if not is_wanted(mode):
        kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISREG, "a file"), (stat.S_ISFIFO, "a pipe"))
        found = next((name for test, name in kinds if test(mode)), "a device or socket")
        raise InputError(f"{target}: {found} is there, where {wanted} is to be written; choose another path")
    return True


@contextmanager
def _partial(target: Path, make: Callable[[Path], None], shared: bool) -> Iterator[Path]:
    """Make and lock a temporary file or folder; those of earlier writers are removed now, and this one at the end."""
    make_folder(target.parent)
    prefix = f".{target.name}.partial-"
    refusal = InputError(f"{target}: another process is writing it; wait for that, or choose another path")
    # Not glob: a name may hold its wildcards.
    for earlier in (path for path in target.parent.iterdir() if path.name.startswith(prefix)):
        with suppress(OSError), try_lock(earlier) as lock:  # OSError: gone by now, or somebody else's
            if lock is Lock.TAKEN and not shared:
                raise refusal
            if lock is Lock.HELD:
                _remove(earlier)
    partial = target.with_name(prefix + secrets.token_hex(4))
    make(partial)
    try:
        with try_lock(partial) as lock:
            if lock is Lock.TAKEN:
                raise refusal
            yield partial
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _files(folder: Path) -> list[str]:
    """Return the relative names of all that is below a folder, but folders."""
    return sorted(
        str(Path(parent, name).relative_to(folder))
        for parent, folders, files in os.walk(folder)
        for name in [*files, *(name for name in folders if Path(parent, name).is_symlink())]
    )
