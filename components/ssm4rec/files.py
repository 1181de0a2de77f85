"""Outputs that appear whole or not at all: write under a temporary name, then rename; where downloads are kept."""

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ssm4rec.errors import InputError, reason

_LONGEST_NUMBER: Final = 100
"""Digits of a whole number in a JSON file; nothing that is counted has as many."""


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``target`` that replaces ``target`` when the block succeeds.

    When the block raises, the temporary folder is removed and ``target`` is left as it was.
    """
    target = target.absolute()
    partial = _partial_name(target)
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial)
    try:
        yield partial
        if target.is_dir():
            shutil.rmtree(target)
        elif target.exists():
            target.unlink()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a temporary file name beside ``target`` that replaces ``target`` when the block succeeds."""
    target = target.absolute()
    partial = _partial_name(target)
    make_folder(target.parent)
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make an output folder and its parents; raise InputError if that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another output folder") from None


def cache_folder(chosen: str) -> Path:
    """Return the folder of downloads: the one chosen or, for "", $XDG_CACHE_HOME/ssm4rec or ~/.cache/ssm4rec."""
    return Path(chosen or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/ssm4rec").expanduser()


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
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a JSON file ({reason(error)})") from None
    except RecursionError:
        raise InputError(f"{path}: not a JSON file (nested too deeply)") from None
    return document


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


def _partial_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial-{os.getpid()}")
