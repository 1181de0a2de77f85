"""The guard of the seam in kfp.local that a study on this machine runs through; stages that end badly."""

import inspect
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import pytest
from kfp import compiler, dsl
from kfp.local import (
    cache,
    docker_task_handler,
    executor_input_utils,
    executor_output_utils,
    io,
    subprocess_task_handler,
)

from pipelines.local import PATCHED, LocalStudy, _with_task_outputs
from pipelines.progress import Progress
from pipelines.run import _report_failures, build_parser
from pipelines.runners import HostProcesses

MEND = """kfp's private API changed. pipelines/local.py replaces ten names of kfp.local (its docstring says why).
Read kfp/local/task_dispatcher.py of the new version: how it builds a task handler, calls run(), constructs the executor
input and collects the outputs; adapt pipelines/local.py, then this test; keep kfp pinned in images/constraints.txt."""


def test_seam_is_as_it_was() -> None:
    assert version("kfp") == "2.17.0", MEND
    assert all(hasattr(module, name) for module, name in PATCHED), MEND
    for handler in (subprocess_task_handler.SubprocessTaskHandler, docker_task_handler.DockerTaskHandler):
        parameters = inspect.signature(handler.__init__).parameters
        assert list(parameters) == ["self", "image", "full_command", "pipeline_root", "runner", "env_vars"], MEND
    construct = inspect.signature(executor_input_utils.construct_executor_input)
    assert list(construct.parameters) == ["component_spec", "arguments", "task_root", "block_input_artifact"], MEND
    collect = inspect.signature(executor_output_utils.get_outputs_for_task)
    assert list(collect.parameters) == ["executor_input", "component_spec"], MEND
    assert list(inspect.signature(io.IOStore.get_parent_input).parameters) == ["self", "key"], MEND
    assert list(inspect.signature(io.IOStore.get_task_output).parameters) == ["self", "task_name", "key"], MEND
    assert list(inspect.signature(cache.LocalCache.get).parameters) == ["self", "key"], MEND
    assert hasattr(io.IOStore(), "_task_output_data"), MEND


def one_stage(folder: Path, code: str) -> LocalStudy:
    """A study of one stage that runs this Python code, ended."""
    (folder / "stage.py").write_text(code)
    environment = {"PYTHONPATH": str(folder)}
    study = LocalStudy(folder, "now", HostProcesses(), {}, lambda module: environment, Progress(), lambda process: None)
    with pytest.raises(Exception, match=r"^stage$"):
        study.start("image", ["python", "-m", "stage"])
    return study


def test_what_fails_inside_a_loop_is_what_is_raised(tmp_path: Path) -> None:
    """kfp.local only logs it there, and raises that an iteration failed (enhanced_dag_orchestrator.py, 2.17.0)."""

    @dsl.container_component
    def stage(number: int) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(image="image", command=["python", "-m", "stage"], args=["--seed", number])

    @dsl.pipeline(name="loop")
    def loop() -> None:
        with dsl.ParallelFor([1, 2]) as number:
            stage(number=number)

    def no_place(_: object) -> None:
        raise PermissionError(13, "Permission denied", "the study's folder")

    (tmp_path / "stage.py").write_text("")
    compiler.Compiler().compile(loop, str(tmp_path / "loop.yaml"))
    environment = {"PYTHONPATH": str(tmp_path)}
    study = LocalStudy(tmp_path, "now", HostProcesses(), {}, lambda module: environment, Progress(), no_place)
    with pytest.raises(PermissionError, match="the study's folder"):
        study.run(tmp_path / "loop.yaml", {})


def test_outputs_are_read_while_other_iterations_add_theirs() -> None:
    store, ended = io.IOStore(), threading.Event()
    store.put_task_output("first", "data", "found")

    def add() -> None:
        number = 0
        while not ended.is_set():
            store.put_task_output(f"task-{number}", "data", number)
            number += 1
            if number % 200 == 0:
                for one in range(number - 200, number):
                    del store._task_output_data[f"task-{one}"]

    adding, interval = threading.Thread(target=add), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    adding.start()
    try:
        find = _with_task_outputs(io.IOStore.get_parent_input)
        assert {find(store, "pipelinechannel--first-data") for _ in range(2000)} == {"found"}
    finally:
        ended.set()
        adding.join()
        sys.setswitchinterval(interval)


def test_a_stage_that_was_killed_is_said_to_have_been(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = one_stage(tmp_path, "import os; print('epoch 1', flush=True); os.kill(os.getpid(), 9)")
    with pytest.raises(SystemExit) as stopped:
        _report_failures(study)
    assert stopped.value.code == 128 + 9
    assert "ended by signal 9 (9 often means: out of memory)" in capsys.readouterr().err


def test_a_stage_that_was_interrupted_is_not_out_of_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = one_stage(tmp_path, "raise SystemExit(130)")  # as a stage ends at Ctrl-C
    with pytest.raises(SystemExit) as stopped:
        _report_failures(study)
    assert stopped.value.code == 130
    assert "FAILED stage: interrupted; the same command resumes" in capsys.readouterr().err


def test_a_disk_that_is_full_here_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs" / "now").mkdir(parents=True)
    (tmp_path / "logs" / "now" / "01-stage.log").symlink_to("/dev/full")
    study = one_stage(tmp_path, "print('a line')")
    with pytest.raises(SystemExit) as stopped:
        _report_failures(study)
    assert stopped.value.code == 2
    assert "01-stage.log: No space left on device; free space or choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "added"), [("make run", " (make: USER_COLUMN=)"), ("python -m pipelines.run", "")])
def test_to_make_a_failure_names_make_s_variables(
    command: str, added: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSM4REC_COMMAND", command)
    said = "no column user_id; set --user-column, not --dataset-dir"
    study = one_stage(tmp_path, f"import sys; print({said!r}, flush=True); sys.exit(2)")
    with pytest.raises(SystemExit, match=r"^2$"):
        _report_failures(study)
    assert f": {said}{added}\n" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"^2$"):
        build_parser().exit(2, f"python -m pipelines.run: error: {said}\n")
    assert capsys.readouterr().err == f"python -m pipelines.run: error: {said}{added}\n"
