"""What tells one state of a source from another without reading it: sizes and times, or what its server says.

A study finds the states of all its sources when it starts, and hands them to the stages that read them as one text,
``data_version``: it is part of the key by which finished stages are reused, so that a changed file is read again. The
text is a JSON object of address and state; a person may give any other text, which is then only part of the key.
"""

import datetime
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from ssm4rec.data.download import cached_record
from ssm4rec.data.locations import check_address, check_here, expand_address, local_path
from ssm4rec.data.remote import InterruptedAttemptError, UnreachableError, open_remote
from ssm4rec.runtime.addresses import public_text
from ssm4rec.runtime.errors import InputError

UNKNOWN: Final = "unknown"
_LONGEST: Final = 3000
"""Characters of a version with an entry per address: it travels in command lines and is shown as a parameter."""

State = Callable[[str], str]
"""Returns the state of an address; raises UnknownStateError where it cannot be told, InputError where nothing is."""


class UnknownStateError(Exception):
    """Nobody tells the state of an address, and why; ``state``, which stands in its place, begins with ``UNKNOWN``."""

    def __init__(self, reason: str, state: str = UNKNOWN) -> None:
        super().__init__(reason)
        self.state = state


def file_state(address: str, cache_dir: Path | None = None) -> str:
    """Return the state of a file, or of the files of a folder, at any address.

    In ``cache_dir`` downloads are kept: a copy there is what is read while its server cannot be asked.

    Raises:
        UnknownStateError: it cannot be told.
        InputError: there is nothing at the address, or the server refuses it and no copy is there.
    """
    if path := local_path(address):
        files = expand_address(address)
        if files != [address]:
            return files_state(_marks(path.parent, map(Path, files)))
        check_here(path)
        facts = path.stat()
        seconds, rest = divmod(facts.st_mtime_ns, 10**9)  # numpy's nanoseconds end in 2262, files do not
        modified = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        return f"{facts.st_size} bytes, modified {modified:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    check_address(address)
    try:
        with open_remote(address) as remote:
            return _remote_state(remote.version, remote.bytes)
    except (InterruptedAttemptError, UnreachableError) as error:
        copy = cached_record(address, cache_dir) if cache_dir else None
        if copy is not None:
            return _remote_state(copy.version, copy.bytes)
        if isinstance(error, UnreachableError):
            raise
        raise UnknownStateError(f"cannot be asked ({error})") from None


def folder_state(folder: Path) -> str:
    """Return the state of the files in a folder and below, without hidden ones."""
    files: list[Path] = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += (Path(parent) / name for name in sorted(names) if not name.startswith("."))
    return files_state(_marks(folder, files))


def files_state(files: Iterable[tuple[str, int]]) -> str:
    """Return the state of several files, of each what tells it from others, and its size."""
    digest, count, size = hashlib.sha256(), 0, 0
    for marks, length in files:
        digest.update(f"{marks} {length}\n".encode(errors="surrogateescape"))
        count, size = count + 1, size + length
    return f"{count} files, {size} bytes, names and times {digest.hexdigest()[:16]}"


def find_versions(addresses: Iterable[str], state: State) -> tuple[str, list[str]]:
    """Return several states as one text, "" without any, and notes on unknown ones; raise InputError if one is gone."""
    found, notes = _states(addresses, state)
    return _text(found) if found else "", notes


def check_unchanged(version: str, addresses: Iterable[str], state: State) -> None:
    """Raise InputError where an address is in another state than a version of ``find_versions`` says."""
    then = _entries(version)
    if not then:
        return
    now, _ = _states(addresses, state)
    if then.keys() == {_many(now)} and not any(map(_is_unknown, now.values())) and then != _entries(_text(now)):
        raise InputError(f"one of {len(now)} sources changed while the run read them; start it again")
    for shown in then.keys() & now.keys():
        known, found = then[shown], now[shown]
        if known != found and not _is_unknown(known) and not _is_unknown(found):
            raise InputError(f"{shown}: changed while the run read it (was {known}; is {found}); start it again")


def _states(addresses: Iterable[str], state: State) -> tuple[dict[str, str], list[str]]:
    """Return the states of addresses by the names under which they are shown, and a note for each unknown state.

    Names are without secrets; where two addresses would have one, the later have a number.
    """
    found: dict[str, str] = {}
    notes = []
    counts: Counter[str] = Counter()
    for address in dict.fromkeys(addresses):
        shown = public_text(address)
        counts[shown] += 1
        if counts[shown] > 1:
            shown = f"{shown} ({counts[shown]})"
        try:
            found[shown] = state(address)
        except UnknownStateError as reason:
            found[shown] = reason.state
            notes.append(f"{shown}: {reason}, so that a change is not noticed")
    return found, notes


def _is_unknown(state: str) -> bool:
    return state.startswith(UNKNOWN)


def _entries(version: str) -> dict[str, str]:
    """Return the entries of a version, {} of a text that a person chose."""
    try:
        document = json.loads(version)
    except json.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _many(found: dict[str, str]) -> str:
    return f"{len(found)} sources"


def _text(found: dict[str, str]) -> str:
    text = json.dumps(found, ensure_ascii=False)
    if len(text) <= _LONGEST:
        return text
    return json.dumps({_many(found): f"sha256 {hashlib.sha256(text.encode()).hexdigest()}"})


def _marks(folder: Path, files: Iterable[Path]) -> Iterator[tuple[str, int]]:
    for path in files:
        facts = path.stat()
        yield f"{os.path.relpath(path, folder)} {facts.st_mtime_ns}", facts.st_size


def _remote_state(version: str, size: int | None) -> str:
    length = "" if size is None else f", {size} bytes"
    if not version:
        raise UnknownStateError(f"its server tells no version{' but the size' if length else ''}", f"{UNKNOWN}{length}")
    return f"version {version}{length}"
