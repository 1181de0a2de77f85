"""The paths on a command line, and the check, before any work, that no output destroys anything.

A command declares each path by the type of its flag; ``command_line.run_stage`` has all of them checked together. An
output folder is written as a whole, so it must be missing, empty, or what the same stage wrote earlier
(``files.whole_folder``). An output file replaces a file of the same format only. An input stays as it is: no output may
be it, hold it or lie in it, nor in any folder that a stage wrote as a whole. Folders that only gain files (checkpoints,
downloads, a study's) may hold anything but must not lie in a folder that is replaced.
"""

import argparse
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import has_magic
from itertools import chain, permutations, product
from pathlib import Path
from typing import Final, Literal

from ssm4rec.data.locations import local_path, split_addresses
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import STUDY, folder_marker, refuse_foreign_folder, refuse_other_than_file

_LONGEST_NAME: Final = 200
"""Bytes; file systems take 255, and a temporary name is longer than the last."""

_BEGINNINGS: Final = {
    "Parquet": (b"PAR1",),
    "JSON": (b"{", b"["),
    "HTML": (b"<!doctype html",),
    "Markdown": (b"# ",),
}
"""By the format of an output file: how such a file begins, in small letters but for Parquet."""

_OF_A_STUDY: Final = {"artifacts", "logs"}
"""What every study's folder holds, those of versions that left no marker too."""

_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_CHOOSE: Final = "choose another path"


@dataclass(frozen=True)
class PathFlag:
    """The type of a flag that names paths.

    Attributes:
        role: ``input``; ``file`` and ``folder``, outputs; and, as texts of which "" is none, ``addresses``: inputs,
            several separated by commas, of which some may be files or folders of this machine; ``kept``: a folder that
            only gains files; ``study``: one that is a study's own.
        content: of an output file its format, a key of ``_BEGINNINGS``; of an output folder the stage that writes it.
    """

    role: Literal["input", "file", "folder", "addresses", "kept", "study"]
    content: str = ""

    def __call__(self, text: str) -> Path | str:
        """Parse a value; what is written is written on this machine, also in a container of a cluster."""
        if self.role not in ("input", "addresses"):
            refuse_address(text, "file" if self.role == "file" else "folder")
        if self.role in ("addresses", "kept", "study"):
            return text
        if not text:
            raise argparse.ArgumentTypeError("an empty path")
        return _expanded(text)


def refuse_address(text: str, what: str) -> None:
    """Raise an error of argparse if an address is given for a ``what`` to write: it would become the folder ``s3:``."""
    if _ADDRESS.match(text):
        raise argparse.ArgumentTypeError(
            f"{text}: a {what} of this machine is written; give its path (--artifacts of a study puts a copy into a "
            "bucket)"
        )


input_path: Final = PathFlag("input")
input_addresses: Final = PathFlag("addresses")
kept_folder: Final = PathFlag("kept")
study_folder: Final = PathFlag("study")


def output_file(form: Literal["Parquet", "JSON", "HTML", "Markdown"]) -> PathFlag:
    """Return the type of a flag that names a file to write."""
    return PathFlag("file", form)


def output_folder(stage: str) -> PathFlag:
    """Return the type of a flag that names a folder to write as a whole; ``stage`` as given to ``whole_folder``."""
    return PathFlag("folder", stage)


@dataclass(frozen=True)
class _Given:
    flag: str
    kind: PathFlag
    path: Path

    def __str__(self) -> str:
        return f"{self.flag} {self.path}"


def check_paths(actions: Iterable[argparse.Action], options: argparse.Namespace) -> None:
    """Check a command line's paths; raise InputError if an output cannot be written, or would destroy something."""
    given = defaultdict(list)
    for path in chain.from_iterable(_given(action, options) for action in actions):
        given[path.kind.role].append(path)
    replaced, kept_folders = [*given["file"], *given["folder"]], [*given["kept"], *given["study"]]
    for output in replaced:
        _check_target(output)
    for output, source in product(replaced, [*given["input"], *given["addresses"]]):
        if _holds(output.path, source.path):
            raise InputError(f"{output}: {source} is read, and would be replaced; {_CHOOSE}")
    for output, other in permutations(replaced, 2):
        if _holds(output.path, other.path):
            what = "is the same path" if _holds(other.path, output.path) else "lies in it, and it is written as a whole"
            raise InputError(f"{output}: {other} {what}; {_CHOOSE}")
    for kept in kept_folders:
        _check_kept(kept, replaced)
    for written in (*replaced, *kept_folders):
        _check_place(written, given["input"])


def _given(action: argparse.Action, options: argparse.Namespace) -> Iterator[_Given]:
    kind, value = action.type, getattr(options, action.dest, None)
    if not isinstance(kind, PathFlag) or not value:
        return
    flag = action.option_strings[-1] if action.option_strings else action.dest
    match kind.role:
        case "addresses":
            here = map(local_path, split_addresses(value))
            # Others, such as the id of a language model, name nothing here that could be replaced.
            paths = [found for path in here if path and "\0" not in str(path) and (found := _searched(path)).exists()]
        case "kept" | "study":
            paths = [_expanded(value)]
        case _:
            paths = list(value) if isinstance(value, list | tuple) else [Path(value)]
    yield from (_Given(flag, kind, path) for path in paths)


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # a user without a home, as in some containers
        return Path(text)


def _searched(path: Path) -> Path:
    """Return the folder in which a pattern looks; a path as it is."""
    while has_magic(str(path)) and not path.exists():
        path = path.parent
    return path


def _check_target(output: _Given) -> None:
    path = output.path
    if path.name == "..":
        raise InputError(f"{output}: give the folder's own name")
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise InputError(f"{output.flag}: the name {path.name[:20]}... is too long; {_CHOOSE}")
    _check_parent(output)
    try:
        if output.kind.role == "file":
            refuse_other_than_file(path)
            _refuse_other_format(path, output.kind.content)
        else:
            for held, name in ((Path.cwd(), "the working folder"), (_expanded("~"), "your home folder")):
                if _holds(path, held):
                    raise InputError(f"{path}: {name} is it or lies in it, and it would be replaced; {_CHOOSE}")
            refuse_foreign_folder(path, output.kind.content)
            if os.path.ismount(path):
                raise InputError(f"{path}: a mount point, which cannot be replaced; choose a folder in it")
    except InputError as error:
        raise InputError(f"{output.flag} {error}") from None


def _refuse_other_format(path: Path, form: str) -> None:
    if not path.exists():
        return
    with path.open("rb") as file:
        beginning = file.read(20)
    known = beginning if form == "Parquet" else beginning.lower()
    if beginning and not known.startswith(_BEGINNINGS[form]):
        raise InputError(f"{path}: the file there is not {form}, so not an earlier output; {_CHOOSE}")


def _check_kept(kept: _Given, replaced: list[_Given]) -> None:
    if not os.path.lexists(kept.path):
        _check_parent(kept)
    elif not kept.path.is_dir():
        raise InputError(f"{kept}: not a folder; {_CHOOSE}")
    elif not os.access(kept.path, os.W_OK | os.X_OK):
        raise InputError(f"{kept}: no permission to write there; {_CHOOSE}")
    elif kept.kind.role == "study":
        # Reports and links would take the place of what else is in it.
        names = {entry.name for entry in kept.path.iterdir()}
        if names and folder_marker(kept.path)[0] != STUDY and not names >= _OF_A_STUDY:
            raise InputError(
                f"{kept}: holds {sorted(names)[0]!r}, and is not the folder of a study; choose a new or an empty one"
            )
    for output in replaced:
        if _holds(output.path, kept.path):
            raise InputError(f"{kept}: lies in {output}, which is replaced as a whole; {_CHOOSE}")


def _check_parent(written: _Given) -> None:
    """Refuse a path whose folder cannot be made, or not be written to."""
    for parent in filter(os.path.lexists, written.path.absolute().parents):
        if not parent.is_dir():
            raise InputError(f"{written}: {parent} is not a folder; {_CHOOSE}")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise InputError(f"{written}: no permission to write in {parent}; {_CHOOSE}")
        return


def _check_place(written: _Given, inputs: list[_Given]) -> None:
    """Refuse a path in an input, or in any folder that a stage wrote as a whole, such as ``model/config.json``."""
    for source in inputs:
        if _holds(source.path, written.path):
            raise InputError(f"{written}: lies in {source}, which is read and stays as it is; {_CHOOSE}")
    for parent in Path(os.path.realpath(written.path)).parents:
        stage, _ = folder_marker(parent)
        if stage not in ("", STUDY):
            raise InputError(f"{written}: lies in {parent}, which {stage} wrote as a whole; {_CHOOSE}")


def _holds(outer: Path, inner: Path) -> bool:
    """Return whether ``inner`` is ``outer`` or lies in it, by whatever names and links they are given."""
    real = Path(os.path.realpath(inner))
    return _identity(outer) in {_identity(path) for path in (real, *real.parents)}


def _identity(path: Path) -> tuple[int, int] | str:
    try:
        facts = path.stat()
    except OSError:  # missing, or out of reach: then its name must do
        return os.path.realpath(path)
    return facts.st_dev, facts.st_ino
