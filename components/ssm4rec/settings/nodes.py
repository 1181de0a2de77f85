"""What is said and checked of nodes of a cluster that work for a stage, and the command line that they get of it."""

from collections.abc import Iterable
from typing import Final

from ssm4rec.data.locations import local_path
from ssm4rec.runtime.cluster import Document
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.task_pod import claim_of
from ssm4rec.settings.flags import Flag, StageSettings, described

LARGEST_NUMBER_OF_NODES: Final = 999


def other_nodes(setting: str, otherwise: str = "") -> InputError:
    """Return the error of a setting that asks for nodes, on a machine that is not a cluster's.

    >>> str(other_nodes("--nodes 2", ", or submit the study"))
    "--nodes 2: other nodes are a cluster's, and this runs here; leave it out, or submit the study"
    """
    return InputError(f"{setting}: other nodes are a cluster's, and this runs here; leave it out{otherwise}")


def check_nodes(nodes: int, flag: str, folder: str, such_as: str, workers: int = 0) -> None:
    """Raise InputError if several nodes are wanted without what they need, on every machine.

    Args:
        flag, folder, such_as: which flag names the folder that they share, what it says, and an example.
        workers: processes of one machine that are wanted, too; 0: none.
    """
    if nodes == 1:
        return
    if workers:
        raise InputError(
            f"--workers {workers}: is of one machine; with --nodes {nodes} each node gives all it has, leave it out"
        )
    if not folder:
        raise InputError(
            f"--nodes {nodes}: needs {flag}, a folder of a volume that all nodes mount, such as {such_as}; a pipeline "
            "compiled with VOLUME= has one"
        )


def check_on_volumes(pod: Document, flag: str, addresses: Iterable[str]) -> None:
    """Raise InputError, naming ``flag``, if one of some addresses is of a file that other nodes cannot read."""
    for address in addresses:
        if (path := local_path(address)) is not None:
            claim_of(pod, path, flag)


def handed_on(options: StageSettings, without: Iterable[str]) -> list[str]:
    """Return the flags of a stage's settings, as a command line; not those of some fields, and of no file or folder."""
    return [
        f"{one.flag}={one.as_argument(getattr(options, one.name))}"
        for one in described(type(options))
        if isinstance(one.note, Flag) and one.name not in without
    ]
