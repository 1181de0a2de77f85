"""Submit the comparative study to a cluster: ``python -m pipelines.submit --help`` (``make submit``).

Calls ``kfp run create`` with the compiled pipeline, so that nothing happens here that an engineer could not type.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipelines.comparative_study import fitting_package
from pipelines.front_door import check_study, read_spec
from pipelines.hardware import A100_80GB, GPU_TAINTS
from pipelines.loops import check_loops
from pipelines.package import compiled_package
from pipelines.parameters.comparative import StudyParser, study_arguments
from pipelines.sizes import check_sizes
from pipelines.versions import add_versions
from ssm4rec.command_line import run_stage
from ssm4rec.errors import InputError


def build_parser() -> StudyParser:
    """Return the command line."""
    parser = StudyParser("pipelines.submit", "Submit the comparative study to a Kubeflow Pipelines cluster.")
    parser.add_argument("--endpoint", default="", help="KFP API address; empty: KF_PIPELINES_ENDPOINT or KFP_ENDPOINT")
    parser.add_argument("--experiment", default="ssm4rec", help="KFP experiment the run is listed under")
    parser.add_argument("--gpu-pool", type=_pool, default=A100_80GB, help="labels of the GPU nodes, as JSON")
    parser.add_argument(
        "--gpu-toleration", type=_tolerations, default=[GPU_TAINTS], help="of the GPU nodes' taints, as JSON"
    )
    return parser


def _tolerations(text: str) -> list[dict[str, str]]:
    """Parse one toleration or a list of them."""
    given = _json(text)
    return given if isinstance(given, list) else [given]


def _pool(text: str) -> dict[str, str]:
    """Parse the labels of nodes."""
    given = _json(text)
    if not isinstance(given, dict):
        raise argparse.ArgumentTypeError(f"{text}: write labels and values, such as {json.dumps(A100_80GB)}")
    return given


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text or repr(text)}: not JSON ({error})") from None


def run(options: argparse.Namespace) -> None:
    """Submit the study."""
    endpoint = options.endpoint or os.environ.get("KF_PIPELINES_ENDPOINT") or os.environ.get("KFP_ENDPOINT")
    if not endpoint:
        raise InputError(
            "no KFP endpoint is set: export KF_PIPELINES_ENDPOINT=http://… (such as the address of "
            "`kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80`) or pass --endpoint"
        )
    package, arguments = fitting_package(study_arguments(options))
    with tempfile.TemporaryDirectory() as folder:
        _submit(options, endpoint, compiled_package(package, Path(folder)), arguments)


def _submit(options: argparse.Namespace, endpoint: str, compiled: Path, arguments: dict[str, Any]) -> None:
    """Submit a compiled file with the study's arguments."""
    arguments |= {"gpu_pool": options.gpu_pool, "gpu_toleration": options.gpu_toleration}
    for folder in ("cache_dir", "checkpoint_dir"):
        if not arguments[folder]:  # the compiled file knows the cluster's volume, if it has one
            del arguments[folder]
    spec = read_spec(compiled)
    check_loops(spec, arguments)
    check_sizes(spec, arguments)
    check_study(compiled, arguments, here=False)
    add_versions(arguments, print, here=False)
    # JSON throughout: kfp reads a bare 4.5 as a number even where the pipeline takes text.
    values = [f"{name}={json.dumps(value)}" for name, value in arguments.items()]
    command = [str(Path(sys.executable).with_name("kfp")), "--endpoint", endpoint, "run", "create"]
    command += ["--experiment-name", options.experiment, "--package-file", str(compiled), *values]
    # kfp's client warns of servers older than itself, whichever it talks to.
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore::FutureWarning"}
    if subprocess.run(command, check=False, env=quiet).returncode:
        raise InputError(f"kfp could not submit to {endpoint}; its own message is above")


def main() -> None:
    """Submit from the command line."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()
