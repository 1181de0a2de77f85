"""Run a study on this machine: ``python -m pipelines.run STUDY --help`` (``make run`` and the like).

Executes the study's file of pipelines/compiled, the same that a cluster gets, as processes or in the images
(``runners.py``), into a folder (``study_folder.py``). The same command with the same ``--out`` resumes a killed one and
repeats no finished stage. Without a name it is the comparative study.
"""

import datetime
import hashlib
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, NoReturn

from pipelines.front_door import check_study, stage_commands
from pipelines.local import LocalStudy, make_owned_folder
from pipelines.packages import COMPILED, compiled_package, fitting_package
from pipelines.progress import Progress
from pipelines.runners import Containers, HostProcesses, Runner
from pipelines.spec import loops, read_spec, side_by_side
from pipelines.stage_process import StageProcess
from pipelines.studies import DEFAULT, StudyParser, data_and_profile, named_study, with_variables
from pipelines.study_folder import StudyFolder
from pipelines.versions import add_versions
from ssm4rec.artifacts.names import REPORT_HTML, REPORT_MARKDOWN, RESULTS
from ssm4rec.data.locations import local_path, split_addresses
from ssm4rec.runtime.addresses import public_text
from ssm4rec.runtime.compile_variables import COMPILE_VARIABLES, NODES, check_compile_variables
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import MARKER, STUDY, held_by_this_process, read_json, write_json
from ssm4rec.runtime.images import COMMAND_VARIABLE
from ssm4rec.runtime.object_store import split_s3_address
from ssm4rec.settings.command_line import one_of, run_stage
from ssm4rec.settings.flags import Flag
from ssm4rec.settings.nodes import other_nodes
from ssm4rec.settings.outputs import study_folder
from ssm4rec.studies.settings import StudySettings
from ssm4rec.tracking import Tracker, finished, free_port, page_address, start_study

RUNS = Path("runs")
_TARGET = "SSM4REC_TARGET"
_OTHERWISE = ", or submit the study"
_LOCAL_STORE = f"sqlite:///{(RUNS / 'mlflow.db').absolute()}"


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How a study runs on this machine."""

    GROUP: ClassVar[str] = "this machine"

    out: Annotated[str, Flag("the study's folder; empty: runs/<time>-<name>", study_folder)] = ""
    runner: Annotated[
        str, Flag("stages as processes (process), or in their images (docker)", one_of(("process", "docker")))
    ] = "process"
    artifacts: Annotated[str, Flag("s3://bucket/prefix that receives a copy of the study; empty: none")] = ""


@dataclass(frozen=True)
class Plan:
    """A study to run: its settings, the compiled pipeline that fits them, and its arguments.

    ``begun`` and ``finished``: whether all runs in its folder were of the same study and code, and the last one came to
    its end.
    """

    settings: StudySettings
    pipeline: str
    arguments: dict[str, Any]
    begun: bool = False
    finished: bool = False


def build_parser(study: str = DEFAULT) -> StudyParser:
    """Return the command line of a study."""
    return StudyParser("pipelines.run" if study == DEFAULT else f"pipelines.run {study}", study, RunSettings, here=True)


def run(told: tuple[StudySettings, RunSettings]) -> None:
    """Run a study and say where everything is."""
    settings, options = told
    check_compile_variables()
    if NODES.value != NODES.default:
        raise other_nodes(f"{NODES.name} (make: NODES=) {NODES.value!r}", _OTHERWISE)
    plan = Plan(settings, *fitting_package(settings.PACKAGE, settings.arguments()))
    arguments = plan.arguments
    if (nodes := arguments.get("data_nodes", 1)) > 1:
        raise other_nodes(f"--data-nodes {nodes}", _OTHERWISE)
    stamp = datetime.datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
    # Finished stages are known by the paths of their files: a link to the folder must not be another folder.
    path = Path(options.out or RUNS / f"{stamp}-{data_and_profile(arguments)[0]}").expanduser().resolve()
    if options.runner == "docker":
        # In a container the home folder goes with it.
        arguments["cache_dir"] = arguments["cache_dir"] or str(path / "downloads")
    # Said now: what a stage, or the end of the study, would say hours later. Nothing is made yet.
    if not options.out and RUNS.exists() and not RUNS.is_dir():
        raise InputError(f"--out: {RUNS} is not a folder, so that there is no default; name a folder")
    if options.artifacts:
        split_s3_address(options.artifacts)
    pipeline, here = COMPILED / f"{plan.pipeline}.yaml", options.runner == "process"
    if not (checked := _marked(path, "checked")):  # only a finished study has it
        check_study(pipeline, arguments, here=here)
    progress = Progress()
    add_versions(arguments, progress.say)
    question = json.dumps([HostProcesses().code_version(), plan.pipeline, options.runner, arguments])
    now = hashlib.sha256(question.encode()).hexdigest()
    plan = replace(plan, begun=_marked(path, "asked") == now, finished=checked == now)
    if checked and checked != now:  # for the same, torch need not be loaded
        check_study(pipeline, arguments, here=here)
    with held_by_this_process(
        path,
        f"{_marked(path, 'process') or 'another process'} runs a study there; wait for it, or choose another --out",
    ):
        # At once: the next process that wants the folder reads in it which one has it.
        # Of a folder in which another study finished stages nobody can tell how many of these are this one's.
        alone = plan.begun or not any(path.glob("cache/*/*.json"))
        if (before := _marked(path, "folder")) not in ("", str(path)):
            # Finished stages are known by the paths of their files.
            shutil.rmtree(path / "cache", ignore_errors=True)
            progress.say(
                f"{path} was {before} in its last run: its finished stages are run again; finished trainings are taken "
                "from their checkpoints"
            )
        process = f"process {os.getpid()}"
        marker = {"stage": STUDY, "folder": str(path), "process": process, "asked": now if alone else ""}
        write_json(path / MARKER, marker)
        _execute(plan, options, path, stamp, progress)
        write_json(path / MARKER, {**marker, "checked": now})


def _execute(plan: Plan, options: RunSettings, path: Path, stamp: str, progress: Progress) -> None:
    arguments, say = plan.arguments, progress.say
    # A later run into the same folder finds the checkpoints of a killed one.
    arguments["checkpoint_dir"] = arguments["checkpoint_dir"] or str(path / "checkpoints")
    runner = _runner(options.runner, path, arguments, say)
    folder = StudyFolder(path, options.artifacts, say)
    compiled = COMPILED / f"{plan.pipeline}.yaml"
    spec = read_spec(compiled)
    limits = _thread_limits(side_by_side(spec, arguments))
    study = LocalStudy(path, stamp, runner, {}, limits, progress, folder.receive, folder.find)
    study.again = lambda written: _registers_now(study, folder, written)
    progress.and_more = any(not loop.parameter for loop in loops(spec).values())
    stages = sum(1 for _ in stage_commands(compiled, arguments))
    _say_what_is_kept(study, stages if plan.begun else 0)
    progress.tasks = stages
    if not os.environ.get("MLFLOW_TRACKING_URI") and options.runner == "process":
        RUNS.mkdir(exist_ok=True)
        os.environ["MLFLOW_TRACKING_URI"] = _LOCAL_STORE
        say("opening the MLflow store (its first start takes a while)")
    data, profile = data_and_profile(arguments)
    tracker, tracking = start_study(
        name=f"{data} {profile} {stamp}",
        tags={"stage": "study", "study": plan.settings.PACKAGE, "dataset": data, "profile": profile},
        folder=str(path),
        question=json.dumps(arguments, sort_keys=True),
        again=plan.finished,
    )
    with finished(tracker):
        study.tracking.update(tracking)
        _track_arguments(tracker, arguments)
        try:
            succeeded = study.run(compiled_package(plan.pipeline, path / "pipeline"), arguments)
        except BaseException:
            say(f"what is finished is kept: the same command with --out {path} (make: OUT={path}) resumes")
            raise
        if not succeeded:
            _report_failures(study)
        folder.forget_earlier_runs()
        plan.settings.track(tracker, folder.results())
        for name in (REPORT_HTML, REPORT_MARKDOWN, RESULTS):
            tracker.artifact(folder.path / name)
    say(f"\n{folder.summary(plan.settings.SUMMARY)}\n\nreport   {path / REPORT_HTML}\nnumbers  {path / RESULTS}")
    say(f"again    the same command with --out {path} (make: OUT={path}) repeats only what has changed")
    if uri := tracking.get("MLFLOW_TRACKING_URI"):
        shown = public_text(uri)
        if uri.startswith("http"):
            shown = page_address(shown, tracking["MLFLOW_EXPERIMENT_ID"])
        elif uri == _LOCAL_STORE:
            port = free_port()
            page = page_address(f"http://127.0.0.1:{port}", tracking["MLFLOW_EXPERIMENT_ID"])
            shown = f"make mlflow PORT={port} shows {page}"
        # ``say`` would cut the address at its query, as what may hold a secret.
        print(f"MLflow   {shown}", flush=True)
    folder.store_all()
    if options.artifacts:
        say(f"store    {options.artifacts}")


def _marked(folder: Path, name: str) -> str:
    """Return what a study's folder says of the process that has it, and of what has been checked; "" for nothing."""
    try:
        return str(read_json(folder / MARKER)[name])
    except (InputError, KeyError, TypeError):
        return ""


def _say_what_is_kept(study: LocalStudy, stages: int) -> None:
    """Say what is taken over of earlier runs: of so many ``stages``, 0 if those were about other arguments."""
    if study.cache.exists():
        done, more = study.finished_before(), "+" if study.progress.and_more else ""
        taken = f"{min(done, stages)} of {stages}{more} stages done earlier" if stages else "its finished stages"
        study.progress.say(f"resuming in {study.folder}: {taken}, not repeated")
    elif study.cache.parent.exists():
        study.progress.say(
            f"the code has changed since the last run in {study.folder}: its finished stages are run again; finished "
            "trainings are taken from their checkpoints (remove checkpoints/ to train again)"
        )


def _registers_now(study: LocalStudy, folder: StudyFolder, written: Path) -> bool:
    """Tell whether an earlier run's stage could not register its model, and today there is an MLflow that may."""
    if not (study.tracking.get("MLFLOW_TRACKING_URI") and folder.unregistered(written)):
        return False
    study.progress.say("register_champion is run again: MLflow did not take the model before")
    return True


def _runner(name: str, path: Path, arguments: dict[str, Any], say: Callable[[str], None]) -> Runner:
    if name == "process":
        return HostProcesses()
    for kept in ("checkpoint_dir", "cache_dir"):
        make_owned_folder(Path(arguments[kept]), path)
    read = ("source", "items_source", "pretrain_source", "fine_tune_source")
    addresses = [address for name in read for address in split_addresses(arguments.get(name, ""))]
    files = [file.absolute() for file in map(local_path, addresses) if file]
    if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        server = "make mlflow; MLFLOW_TRACKING_URI=http://127.0.0.1:5000"
        say(f"not tracked: containers reach MLflow at a server only ({server})")
    return Containers(path, [file for file in files if file.exists()])


def _track_arguments(tracker: Tracker, arguments: dict[str, Any]) -> None:
    lists = {name: value for name, value in arguments.items() if isinstance(value, list)}
    entries = [entry for value in lists.values() for entry in value]
    models = [*dict.fromkeys(entry["model"] for entry in entries if "model" in entry)]
    models += ["llamarec"] if any("language_model" in entry for entry in entries) else []
    texts = {name: json.dumps(value) for name, value in lists.items()}
    tracker.settings({**arguments, **texts, "models": ", ".join(models)})


def _report_failures(study: LocalStudy) -> NoReturn:
    for process in study.failed:
        what = f"FAILED {process.label}: {with_variables(_reason(process))}\n       (its whole output: {process.log})"
        print(what, file=sys.stderr)
    sys.exit(max(process.returncode for process in study.failed))


def _thread_limits(at_a_time: dict[str, int]) -> Callable[[str], dict[str, str]]:
    """Share the cores among the two tasks that kfp.local runs at a time, unless the user has decided."""
    if "OMP_NUM_THREADS" in os.environ:
        return lambda _: {}
    cores = os.cpu_count() or 1
    return lambda module: {"OMP_NUM_THREADS": str(max(1, cores // min(2, at_a_time.get(module, 1))))}


def _reason(process: StageProcess) -> str:
    """Return a stage's own last line, which says what was wrong, or what ended it before it could."""
    if process.problem:
        return process.problem
    if process.returncode > 128:
        number = process.returncode - 128
        what = "interrupted" if number == signal.SIGINT else f"ended by signal {number} (9 often means: out of memory)"
        return f"{what}; the same command resumes"
    lines = [line for line in process.log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def _command(target: str, arguments: list[str]) -> list[str]:
    """Return what a person typed: make's ``target``, if it was make that was called, else this program.

    >>> _command("run", ["--k-core=5", "--overrides=model.d_model=64"])
    ['make', 'run', 'K_CORE=5', 'OVERRIDES=model.d_model=64']
    """
    if not target:
        return ["python", "-m", "pipelines.run", *arguments]
    split = [argument.removeprefix("--").partition("=") for argument in arguments if argument.startswith("--")]
    chosen = [f"{one.name.removeprefix('SSM4REC_')}={one.given}" for one in COMPILE_VARIABLES if one.name in os.environ]
    return ["make", target, *(f"{name.replace('-', '_').upper()}={value}" for name, _, value in split), *chosen]


def main() -> None:
    """Run from the command line: the study's name, then its flags."""
    study, arguments = named_study(sys.argv[1:])
    os.environ[COMMAND_VARIABLE] = public_text(shlex.join(_command(os.environ.pop(_TARGET, ""), sys.argv[1:])))
    run_stage(build_parser(study), run, arguments)


if __name__ == "__main__":
    main()
