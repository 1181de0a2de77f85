"""Submit a study to a cluster: ``python -m pipelines.submit --help`` (``make submit``).

Posts the compiled pipeline whose parts are those that were asked for, by kfp's own client: nothing happens here that an
engineer could not do with ``kfp run create``, but for the checks before it.
"""

import argparse
import datetime
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.cluster import connected, endpoint_of
from pipelines.comparative_packages import fitting_package
from pipelines.cron import kfp_cron
from pipelines.front_door import check_study, read_spec
from pipelines.hardware import A100_80GB, GPU_TAINTS
from pipelines.loops import check_loops
from pipelines.package import compiled_package
from pipelines.parameters.adapters import AdapterStudyParser, adapter_study_arguments
from pipelines.parameters.comparative import StudyParser, study_arguments
from pipelines.parameters.long_histories import LongHistoryStudyParser, long_history_study_arguments
from pipelines.parameters.optimizers import OptimizerStudyParser, optimizer_study_arguments
from pipelines.parameters.orpo import OrpoStudyParser, orpo_study_arguments
from pipelines.parameters.parser import ParametersParser
from pipelines.parameters.reproduction import ReproductionStudyParser, reproduction_study_arguments
from pipelines.parameters.shared import data_and_profile
from pipelines.sizes import check_sizes
from pipelines.versions import add_versions
from ssm4rec.command_line import boolean, run_stage

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A study as it is submitted.

    Attributes:
        parser: of its flags.
        arguments: from parsed flags, those of its pipeline.
        package: its compiled file; "": the arguments decide.
    """

    parser: type[ParametersParser]
    arguments: Callable[[argparse.Namespace], Arguments]
    package: str = ""


STUDIES: Final = {
    "comparative": Study(StudyParser, study_arguments),
    "optimizers": Study(OptimizerStudyParser, optimizer_study_arguments, "optimizer_study"),
    "adapters": Study(AdapterStudyParser, adapter_study_arguments, "adapter_study"),
    "orpo": Study(OrpoStudyParser, orpo_study_arguments, "orpo_study"),
    "long-histories": Study(LongHistoryStudyParser, long_history_study_arguments, "long_history_study"),
    "reproduction": Study(ReproductionStudyParser, reproduction_study_arguments, "reproduction_study"),
}


def build_parser(study: str = "comparative") -> ParametersParser:
    """Return the command line of a study."""
    parser = STUDIES[study].parser("pipelines.submit", "Submit a study to a Kubeflow Pipelines cluster.")
    parser.add_argument("--study", default=study, choices=STUDIES, help="which one; each has flags of its own")
    parser.add_argument("--endpoint", default="", help="KFP API address; empty: KF_PIPELINES_ENDPOINT or KFP_ENDPOINT")
    parser.add_argument("--experiment", default="ssm4rec", help="KFP experiment the run is listed under")
    parser.add_argument("--run-name", default="", help="empty: data set, profile and time")
    parser.add_argument(
        "--cache", type=boolean, default=True, help="take results of tasks from earlier runs where nothing changed"
    )
    parser.add_argument("--cron", default="", help='repeat it, such as "0 3 * * *": every night at three (UTC)')
    parser.add_argument("--gpu-pool", type=_pool, default=A100_80GB, help="labels of the GPU nodes, as JSON")
    parser.add_argument(
        "--gpu-toleration", type=_tolerations, default=GPU_TAINTS, help="of the GPU nodes' taints, as JSON"
    )
    return parser


def _tolerations(text: str) -> list[dict[str, str]]:
    """Parse one toleration or a list of them."""
    given = _json(text)
    found = given if isinstance(given, list) else [given]
    if not all(isinstance(entry, dict) for entry in found):
        raise argparse.ArgumentTypeError(f"{text}: write a toleration or a list of them, such as {GPU_TAINTS[0]}")
    return found


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
    """Submit the study, once or as often as ``--cron`` says."""
    endpoint = endpoint_of(options.endpoint)
    study = STUDIES[options.study]
    arguments = study.arguments(options)
    package = study.package
    if not package:
        package, arguments = fitting_package(arguments)
    arguments |= {"gpu_pool": options.gpu_pool, "gpu_toleration": options.gpu_toleration}
    for folder in ("cache_dir", "checkpoint_dir"):
        if not arguments[folder]:  # the compiled file knows the cluster's volume, if it has one
            del arguments[folder]
    with tempfile.TemporaryDirectory() as folder:
        compiled = compiled_package(package, Path(folder))
        _check(compiled, arguments, options.cron)
        if options.cron or not options.cache:
            compiled = _uncached(compiled, Path(folder))
        _submit(endpoint, options, compiled, arguments)


def _check(compiled: Path, arguments: Arguments, cron: str) -> None:
    """Refuse what the backend or a stage would refuse; say what state the data are in."""
    if cron:
        kfp_cron(cron)
    spec = read_spec(compiled)
    check_loops(spec, arguments)
    check_sizes(spec, arguments)
    check_study(compiled, arguments, here=False)
    if not cron:  # else every run takes the data as they are then
        add_versions(arguments, print, here=False)


def _uncached(compiled: Path, folder: Path) -> Path:
    """Return a copy of a package whose tasks all run.

    kfp's own option changes the tasks at the top alone, not those in loops (2.17.0, kfp/client/client.py,
    _override_caching_options).
    """
    text = compiled.read_text(encoding="utf-8").replace("enableCache: true", "enableCache: false")
    copy = folder / f"uncached-{compiled.name}"
    copy.write_text(text, encoding="utf-8")
    return copy


def _submit(endpoint: str, options: argparse.Namespace, compiled: Path, arguments: Arguments) -> None:
    now = datetime.datetime.now().astimezone()
    called = " ".join(data_and_profile(arguments))
    called = f"{called} every {options.cron}" if options.cron else f"{called} {now:%Y-%m-%d %H:%M}"
    how = {
        "job_name": options.run_name or called,
        "pipeline_package_path": str(compiled),
        "params": arguments,
    }
    with connected(endpoint) as client:
        how["experiment_id"] = client.create_experiment(options.experiment).experiment_id
        if options.cron:
            scheduled = client.create_recurring_run(**how, cron_expression=kfp_cron(options.cron))
            print(f"scheduled {how['job_name']}: recurring run {scheduled.recurring_run_id}")
        else:
            submitted = client.run_pipeline(**how)
            print(f"submitted {how['job_name']}: run {submitted.run_id} (make status RUN={submitted.run_id})")


def main() -> None:
    """Submit from the command line."""
    chosen = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    chosen.add_argument("--study", default="comparative")
    study = chosen.parse_known_args()[0].study
    run_stage(build_parser(study if study in STUDIES else "comparative"), run)


if __name__ == "__main__":
    main()
