"""Folders on a volume that several nodes mount, by which a stage and its nodes hand each other what they write."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from ssm4rec.runtime.cluster import Cluster, Document
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import MARKER, digest_of, folder_marker, whole_folder
from ssm4rec.runtime.job_run import JobEnd, JobRun
from ssm4rec.runtime.task_pod import WORKFLOW_LABEL, claim_of

_READ_BY_SEVERAL: Final = "ReadWriteMany"


def check_read_by_several(cluster: Cluster, pod: Document, folder: Path, flag: str, nodes: int) -> None:
    """Raise InputError, naming ``flag``, if a folder lies on no volume that nodes can mount at once."""
    name = claim_of(pod, folder, flag)
    claim = cluster.get(f"/api/v1/namespaces/{cluster.namespace}/persistentvolumeclaims/{name}")
    modes = claim["spec"]["accessModes"] if claim else []
    if _READ_BY_SEVERAL not in modes:
        raise InputError(
            f"{flag} {folder}: lies on the volume {name} ({', '.join(modes)}), which one node at a time can mount; "
            f"{nodes} nodes need one with {_READ_BY_SEVERAL}"
        )


def digest_of_task(pod: Document, told: Sequence[object], inputs: Mapping[str, Path]) -> str:
    """Return what tells a task, in this run of a pipeline, from others: what it is told, and all that it reads."""
    run = pod["metadata"].get("labels", {}).get(WORKFLOW_LABEL, "")
    found = hashlib.sha256(repr([run, *told]).encode())
    for name, folder in inputs.items():
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            found.update(f"{name}/{path.relative_to(folder)} {digest_of(path)}\n".encode())
    return found.hexdigest()


def give_folders(inputs: Mapping[str, Path], folder: Path, stage: str) -> None:
    """Copy what a stage was given, by names, for its nodes; what an attempt before copied is the same, and in use."""
    missing = {name: source for name, source in inputs.items() if not (folder / name).is_dir()}
    try:
        for name, source in missing.items():
            copy_folder(source, folder / name, stage)
    except BaseException:
        if missing == inputs:
            remove_folder(folder)
        raise


def copy_folder(source: Path, target: Path, stage: str) -> None:
    """Copy a folder that a stage wrote, whole or not at all; ``stage`` is whose it is if nothing says so."""
    own, _ = folder_marker(source)
    with whole_folder(target, own or stage) as partial:
        shutil.copytree(source, partial, ignore=shutil.ignore_patterns(MARKER), dirs_exist_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder; of what is killed meanwhile nothing half removed is left under its name."""
    gone = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)  # a node that is being ended may still write


def follow_with_folder(run: JobRun, folder: Path, take: Callable[[], bool], missing: str) -> JobEnd:
    """Follow a job, take what it left in its folder, and remove both; of one that failed the folder alone.

    Args:
        run: the job.
        folder: where the stage and the job hand each other what they write; kept while the job may run.
        take: copies what a complete job left, and returns whether it was there.
        missing: what to say if it was not.

    Raises:
        InputError: ``missing``, or what following or taking raises.
    """
    try:
        end = run.follow()
    except BaseException:
        if not run.may_run:
            remove_folder(folder)
        raise
    taken = end.complete and take()
    if end.complete:
        run.delete()
    remove_folder(folder)
    if end.complete and not taken:
        raise InputError(missing)
    return end
