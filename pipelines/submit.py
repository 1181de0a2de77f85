"""Submit a study to a cluster: ``python -m pipelines.submit --help`` (``make submit``).

Posts the compiled pipeline that fits by kfp's own client, as ``kfp run create`` would, after checks of its own.
"""

import argparse
import datetime
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pipelines.cluster import connected, endpoint_of
from pipelines.cron import kfp_cron
from pipelines.front_door import check_study
from pipelines.hardware import A100_80GB, GPU_TAINTS
from pipelines.limits import check_loops, check_sizes
from pipelines.packages import compiled_package, fitting_package
from pipelines.spec import read_spec
from pipelines.studies import DEFAULT, StudyParser, data_and_profile
from pipelines.versions import add_versions
from ssm4rec.runtime.compile_variables import check_compile_variables
from ssm4rec.settings.command_line import one_of, run_stage, value_refused
from ssm4rec.settings.flags import Flag
from ssm4rec.studies import STUDIES
from ssm4rec.studies.settings import StudySettings

_POOL: Final = json.dumps(A100_80GB)
_TAINTS: Final = json.dumps(GPU_TAINTS)


def _tolerations(text: str) -> list[dict[str, str]]:
    given = _json(text)
    found = given if isinstance(given, list) else [given]
    if not all(isinstance(entry, dict) for entry in found):
        raise value_refused(text, f"write a toleration or a list of them, such as {GPU_TAINTS[0]}")
    return found


def _pool(text: str) -> dict[str, str]:
    given = _json(text)
    if not isinstance(given, dict):
        raise value_refused(text, f"write labels and values, such as {_POOL}")
    return given


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise value_refused(text, f"not JSON ({error})") from None


@dataclass(frozen=True, kw_only=True)
class SubmitSettings:
    """How a study is submitted."""

    GROUP: ClassVar[str] = "submission"

    study: Annotated[str, Flag(f"which one, of {', '.join(STUDIES)}; each has flags of its own", one_of(STUDIES))] = (
        DEFAULT
    )
    endpoint: Annotated[str, Flag("KFP API address; empty: KF_PIPELINES_ENDPOINT or KFP_ENDPOINT")] = ""
    experiment: Annotated[str, Flag("KFP experiment the run is listed under")] = "ssm4rec"
    run_name: Annotated[str, Flag("empty: data set, profile and time")] = ""
    cache: Annotated[bool, Flag("take results of tasks from earlier runs where nothing changed")] = True
    cron: Annotated[str, Flag('repeat it, such as "0 3 * * *": every night at three (UTC)')] = ""
    gpu_pool: Annotated[Any, Flag("labels of the GPU nodes, as JSON", _pool)] = _POOL
    gpu_toleration: Annotated[Any, Flag("of the GPU nodes' taints, as JSON", _tolerations)] = _TAINTS


def build_parser(study: str = DEFAULT) -> StudyParser:
    """Return the command line of a study."""
    return StudyParser("pipelines.submit", study, SubmitSettings, here=False)


def run(told: tuple[StudySettings, SubmitSettings]) -> None:
    """Submit the study, once or as often as ``--cron`` says."""
    settings, options = told
    check_compile_variables()
    package, arguments = fitting_package(settings.PACKAGE, settings.arguments())
    arguments |= {"gpu_pool": options.gpu_pool, "gpu_toleration": list(options.gpu_toleration)}
    for folder in ("cache_dir", "checkpoint_dir"):
        if not arguments[folder]:  # the compiled file knows the cluster's volume, if it has one
            del arguments[folder]
    with tempfile.TemporaryDirectory() as folder:
        compiled = compiled_package(package, Path(folder))
        cron = kfp_cron(options.cron) if options.cron else ""
        spec = read_spec(compiled)
        check_loops(spec, arguments)
        check_sizes(spec, arguments)
        check_study(compiled, arguments, here=False)
        endpoint = endpoint_of(options.endpoint)
        if not cron:  # else every run takes the data as they are then
            add_versions(arguments, print, here=False)
        if cron or not options.cache:
            compiled = _uncached(compiled, Path(folder))
        _submit(endpoint, options, compiled, arguments, cron)


def _uncached(compiled: Path, folder: Path) -> Path:
    """Return a copy of a package whose tasks all run.

    kfp's own option changes the tasks at the top alone, not those in loops (2.17.0, kfp/client/client.py,
    _override_caching_options).
    """
    text = compiled.read_text(encoding="utf-8").replace("enableCache: true", "enableCache: false")
    copy = folder / f"uncached-{compiled.name}"
    copy.write_text(text, encoding="utf-8")
    return copy


def _submit(endpoint: str, options: SubmitSettings, compiled: Path, arguments: dict[str, Any], cron: str) -> None:
    now = datetime.datetime.now().astimezone()
    when = f"every {options.cron}" if cron else f"{now:%Y-%m-%d %H:%M}"
    name = options.run_name or " ".join([*data_and_profile(arguments), when])
    how = {"job_name": name, "pipeline_package_path": str(compiled), "params": arguments}
    with connected(endpoint) as client:
        how["experiment_id"] = client.create_experiment(options.experiment).experiment_id
        if cron:
            scheduled = client.create_recurring_run(**how, cron_expression=cron)
            print(f"scheduled {name}: recurring run {scheduled.recurring_run_id}")
        else:
            submitted = client.run_pipeline(**how)
            print(f"submitted {name}: run {submitted.run_id} (make status RUN={submitted.run_id})")


def main() -> None:
    """Submit from the command line."""
    chosen = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    chosen.add_argument("--study", default=DEFAULT, nargs="?")  # without a value: refused by the study's parser
    study = chosen.parse_known_args()[0].study
    run_stage(build_parser(study if study in STUDIES else DEFAULT), run)


if __name__ == "__main__":
    main()
