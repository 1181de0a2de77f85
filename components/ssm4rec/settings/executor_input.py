"""What KFP tells a container about its artifacts, and what the container may tell KFP.

A stage gets plain paths, but for two things it needs KFP's own JSON, the executor input, which a component passes with
``dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER``: the ``.path`` of a list of artifacts is silently that of its first
one, and metadata of an output (numbers that the KFP UI shows) has no file of its own. By hand it is ``""``.
"""

import json
from pathlib import Path
from typing import Any, Final

from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import write_json

# Where KFP's launcher mounts or downloads an artifact (kubeflow/pipelines:backend/src/v2/component/launcher_v2.go,
# LocalPathForURI). A local run's uri is the path.
_LOCAL_FOLDERS: Final = {"s3://": "/s3/", "minio://": "/minio/", "gs://": "/gcs/"}


def local_path(uri: str) -> Path:
    """Return where an artifact lies in the container.

    >>> local_path("s3://bucket/metrics").as_posix(), local_path("/runs/metrics").as_posix()
    ('/s3/bucket/metrics', '/runs/metrics')
    """
    for scheme, folder in _LOCAL_FOLDERS.items():
        if uri.startswith(scheme):
            return Path(folder + uri.removeprefix(scheme))
    return Path(uri)


def input_paths(executor_input: str, name: str, optional: bool = False) -> list[Path]:
    """Return the paths of all artifacts of an input, in KFP's order; of one that is ``optional`` there may be none.

    Raise InputError if ``executor_input`` is not an executor input or has no such input.
    """
    return [local_path(artifact["uri"]) for artifact in _artifacts(executor_input, "inputs", name, optional)]


def write_executor_output(executor_input: str, metadata: dict[str, dict[str, float | str]]) -> None:
    """Write the executor output that attaches metadata to output artifacts; nothing by hand, without executor input.

    ``metadata`` is, for each output named, what to show with it; outputs not named stay as they are. On a Metrics
    artifact the values must be numbers; ``@`` in a name becomes ``_at_``, as KFP's MLflow plugin hands all of a task's
    numbers to MLflow at once, which refuses them all for one such name. Raise InputError if ``executor_input`` is not
    an executor input or has no such output.
    """
    if not executor_input:
        return
    artifacts = {}
    for name, values in metadata.items():
        first = _artifacts(executor_input, "outputs", name)[0]
        place = local_path(first["uri"])
        # KFP makes the folder, and does without a file; kfp.local takes a missing one for a lost result.
        if place.parent.is_dir() and not place.exists():
            write_json(place, values)
        shown = {key.replace("@", "_at_"): value for key, value in values.items()}
        artifacts[name] = {"artifacts": [{"name": first["name"], "uri": first["uri"], "metadata": shown}]}
    write_json(Path(json.loads(executor_input)["outputs"]["outputFile"]), {"artifacts": artifacts})


def _artifacts(executor_input: str, side: str, name: str, optional: bool = False) -> list[dict[str, Any]]:
    try:
        given = json.loads(executor_input)[side]["artifacts"]
        # JSON made from KFP's protocol buffers leaves out what is empty: a list's artifacts, or the list.
        if optional and not (given.get(name) or {}).get("artifacts"):
            return []
        artifacts: list[dict[str, Any]] = list(given[name]["artifacts"])
        if all(isinstance(artifact["uri"], str) for artifact in artifacts):
            return artifacts
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"--executor-input: not JSON ({error}); leave it out when running by hand") from None
    except (KeyError, TypeError, AttributeError):
        pass
    raise InputError(f"--executor-input: {side} have no artifact {name!r}; pass KFP's executor input")
