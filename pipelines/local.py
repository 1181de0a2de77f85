"""Run a compiled pipeline on this machine through kfp.local, every container as a runner makes it (``runners.py``).

kfp.local (2.17.0) refuses container components outside Docker and has no public way to add a runner. These of its names
are replaced while a pipeline runs; tests/pipelines/test_local.py guards them and says what to do when kfp changes:

- ``SubprocessTaskHandler`` and ``DockerTaskHandler``: by one that starts the container's command through the runner;
- ``construct_executor_input``: also makes the parent folders of the outputs, as KFP's launcher does in a pod;
- ``get_outputs_for_task``: also returns the artifacts that a stage did not report itself, as the launcher does;
- ``get_parent_input``: also finds outputs of tasks, for loops over one (of which it knows those called "Output" only);
- ``execute_task``: keeps what it raises, which kfp.local only logs inside a loop;
- ``LocalCache.get``: also says which outputs of an earlier run it has found; those that are to be made again are none;
- its logging helpers, which swap process-wide state (root logger, builtins.print) and do not work with several threads.
"""

import errno
import functools
import json
import logging
import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from kfp import components, dsl, local
from kfp.local import (
    cache,
    docker_task_handler,
    executor_input_utils,
    executor_output_utils,
    io,
    logging_utils,
    subprocess_task_handler,
)
from kfp.local.orchestrator import enhanced_dag_orchestrator
from kfp.local.status import Status
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

from pipelines.progress import Progress
from pipelines.runners import Runner
from pipelines.stage_process import StageProcess
from ssm4rec.runtime.errors import one_line, printable
from ssm4rec.runtime.files import make_folder
from ssm4rec.tracking import end_task, start_task

PATCHED: Final = (
    (subprocess_task_handler, "SubprocessTaskHandler"),
    (docker_task_handler, "DockerTaskHandler"),
    (executor_input_utils, "construct_executor_input"),
    (executor_output_utils, "get_outputs_for_task"),
    (io.IOStore, "get_parent_input"),
    (cache.LocalCache, "get"),
    (enhanced_dag_orchestrator, "execute_task"),
    (logging_utils, "local_logger_context"),
    (logging_utils, "indented_print"),
    (logging_utils, "print_horizontal_line"),
)


@dataclass
class LocalStudy:
    """One run of a pipeline on this machine.

    Attributes:
        folder: receives ``artifacts/`` (KFP's pipeline root), ``logs/`` and ``cache/`` (which stages are finished: the
            same code with the same arguments in the same folder does not repeat them).
        stamp: names this run's folder in ``logs/``, which has a file per stage that it starts.
        tracking: the MLflow variables of the study's run, from ``tracking.start_study``.
        environment: further variables of a stage, by its module.
        finished: called when a stage has succeeded.
        found: called instead with the folder of its outputs, if an earlier run has finished it.
        again: whether a stage is to run again although an earlier run has finished it, by the same folder.
    """

    folder: Path
    stamp: str
    runner: Runner
    tracking: dict[str, str]
    environment: Callable[[str], dict[str, str]]
    progress: Progress
    finished: Callable[[StageProcess], None]
    found: Callable[[Path], None] = lambda _: None
    again: Callable[[Path], bool] = lambda _: False
    processes: list[StageProcess] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, compiled: Path, arguments: dict[str, Any]) -> bool:
        """Execute a compiled pipeline; return whether every stage succeeded."""
        pipeline = components.load_component_from_file(str(compiled))
        _cache_every_task(pipeline.component_spec.implementation.graph)
        raised: list[Exception] = []
        with self._own_handlers(raised):
            local.init(
                runner=self.runner.kfp_runner(),
                pipeline_root=str(self.folder / "artifacts"),
                raise_on_error=True,
                enable_caching=True,
                cache_root=str(self.cache),
            )
            try:
                with self.runner.ending_stages():
                    pipeline(**arguments)
            except (_StageFailedError, RuntimeError) as error:
                # kfp.local turns a failure inside a loop into a RuntimeError of its own.
                if not self.failed:
                    raise (raised or [error])[0] from None
        return not self.failed

    @property
    def cache(self) -> Path:
        """Which stages are finished, of this state of the code: what another one finished is not reused."""
        return self.folder / "cache" / self.runner.code_version()

    def finished_before(self) -> int:
        """Return how many stages this state of the code has finished in this folder."""
        return sum(1 for _ in self.cache.glob("*.json"))

    def _take_over(self, folders: set[Path]) -> bool:
        if any(map(self.again, folders)):
            return False
        self.progress.taken_over()
        for folder in folders:
            self.found(folder)
        return True

    @property
    def failed(self) -> list[StageProcess]:
        """The stages that did not succeed."""
        return [process for process in self.processes if process.returncode]

    def start(self, image: str, command: list[str]) -> Status:
        """Run a stage to its end; raise if it fails, so that kfp.local neither retries it nor starts others."""
        if self.runner.ending:
            raise _StageFailedError("ended before it began")
        with self._lock:
            process = StageProcess(command, self.folder / "logs" / self.stamp, len(self.processes) + 1)
            self.processes.append(process)
        self.progress.started(process)
        try:
            process.returncode = self._run(process, image)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            process.returncode = 2
            process.problem = f"{process.log}: {error.strerror}; free space or choose another --out"
        finally:
            self.progress.ended(process)
        if process.returncode:
            raise _StageFailedError(process.label)
        self.finished(process)
        return Status.SUCCESS

    def _run(self, process: StageProcess, image: str) -> int:
        # Each run writes its outputs elsewhere; a command is the same if nothing else differs.
        words = " ".join(map(_in_order, process.command))
        command = re.sub(rf"{re.escape(str(self.folder))}/artifacts/[^/]+/", "", words)
        task = start_task(process.tracked_name, self.tracking, command)
        status = 128 + signal.SIGTERM
        try:
            process.log.parent.mkdir(parents=True, exist_ok=True)
            with process.log.open("w", encoding="utf-8") as log:

                def show(line: str) -> None:
                    line = printable(line)
                    log.write(f"{line}\n")
                    log.flush()
                    self.progress.line(process, one_line(line))

                environment = {**self.environment(process.module), **task}
                status = self.runner.run(image, process.command, environment, show)
        finally:
            # What was killed could not say so, and some stages have nothing to tell MLflow.
            end_task(task, "KILLED" if status > 128 else "FAILED" if status else "FINISHED")
        return status

    @contextmanager
    def _own_handlers(self, raised: list[Exception]) -> Iterator[None]:
        def handler(*, image: str, full_command: list[str], **_: object) -> SimpleNamespace:
            return SimpleNamespace(run=functools.partial(self.start, image, full_command))

        replacements = (
            handler,
            handler,
            _with_parent_folders(executor_input_utils.construct_executor_input, self.folder),
            _with_unreported_artifacts(executor_output_utils.get_outputs_for_task),
            _with_task_outputs(io.IOStore.get_parent_input),
            _telling(cache.LocalCache.get, self._take_over),
            _keeping(enhanced_dag_orchestrator.execute_task, raised),
            nullcontext,
            nullcontext,
            lambda: None,
        )
        with ExitStack() as stack:
            # kfp.local narrates to the root logger; our own loggers keep their level.
            stack.callback(logging.getLogger().setLevel, logging.getLogger().level)
            logging.getLogger().setLevel(logging.CRITICAL)
            logging.getLogger("ssm4rec").setLevel(logging.INFO)
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message=".*have no effect in the current local runner")
            for (module, name), replacement in zip(PATCHED, replacements, strict=True):
                stack.callback(setattr, module, name, getattr(module, name))
                setattr(module, name, replacement)
            yield


def _cache_every_task(spec: PipelineSpec) -> None:
    """Keep what a cluster measures each time: a study's folder is of one machine, and its timings are of that, too."""
    for dag in (spec.root.dag, *(component.dag for component in spec.components.values())):
        for task in dag.tasks.values():
            task.caching_options.enable_cache = True


def make_owned_folder(folder: Path, study: Path) -> None:
    """Make a folder inside the study's and give it to the study's owner, whom stages in containers run as."""
    owner = study.stat()
    for made in reversed([folder, *folder.parents]):
        if study in made.parents and not made.exists():
            make_folder(made)
            if os.geteuid() == 0:
                os.chown(made, owner.st_uid, owner.st_gid)


def _in_order(word: str) -> str:
    """Return a word of a command, KFP's executor input by its keys: protobuf's maps have another order each time."""
    return json.dumps(json.loads(word), sort_keys=True) if word.startswith(('{"inputs"', '{"outputs"')) else word


class _StageFailedError(Exception):
    """A stage's process failed; its own error is in its log."""


def _with_parent_folders(construct: Callable[..., Any], study: Path) -> Callable[..., Any]:
    @functools.wraps(construct)
    def constructed(*args: Any, **kwargs: Any) -> Any:
        executor_input = construct(*args, **kwargs)
        for artifacts in executor_input.outputs.artifacts.values():
            for artifact in artifacts.artifacts:
                make_owned_folder(Path(artifact.uri).parent, study)
        return executor_input

    return constructed


def _with_unreported_artifacts(collect: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(collect)
    def collected(executor_input: Any, component_spec: Any) -> Any:
        declared = executor_input.outputs.artifacts
        outputs = {
            name: executor_output_utils.artifact_list_to_dsl_artifact(artifacts, is_artifact_list=False)
            for name, artifacts in declared.items()
        }
        return {**outputs, **collect(executor_input=executor_input, component_spec=component_spec)}

    return collected


def _with_task_outputs(get: Callable[[io.IOStore, str], Any]) -> Callable[[io.IOStore, str], Any]:
    @functools.wraps(get)
    def found(store: io.IOStore, key: str) -> Any:
        # Copies: other iterations of a loop add theirs meanwhile, from threads of their own.
        outputs = {
            f"{task}-{output}": value
            for task, values in store._task_output_data.copy().items()
            for output, value in values.copy().items()
        }
        name = key.removeprefix("pipelinechannel--")
        return outputs[name] if name in outputs else get(store, key)

    return found


def _keeping(execute: Callable[..., Any], raised: list[Exception]) -> Callable[..., Any]:
    @functools.wraps(execute)
    def executed(*args: Any, **kwargs: Any) -> Any:
        try:
            return execute(*args, **kwargs)
        except Exception as error:
            raised.append(error)
            raise

    return executed


def _telling(get: Callable[..., Any], taken_over: Callable[[set[Path]], bool]) -> Callable[..., Any]:
    @functools.wraps(get)
    def told(store: cache.LocalCache, key: str) -> Any:
        outputs = get(store, key)
        if outputs is None:
            return None
        folders = {Path(one.uri).parent for one in outputs.values() if isinstance(one, dsl.Artifact)}
        return outputs if taken_over(folders) else None

    return told
