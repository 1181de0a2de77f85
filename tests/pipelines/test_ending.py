"""A study and a stage that a signal ends: nothing runs on, MLflow says so, and the same command resumes.

The ordinary tests end one study twice and each kind of training once, and compare the weights of a resumed training;
``pytest -m slow`` ends both at ten moments and compares the results of whole studies.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.mlflow_stores import new_store
from tests.pipelines.studies import ROOT

MOMENTS = (
    "opening the MLflow store",
    r"prepare_data: started",
    r"train_recommender sasrec seed 0: started",
    r"sasrec seed 0 epoch 2/",
    r"sasrec seed 0 epoch 9/",
    r"train_recommender sasrec seed 0: done",
    r"compare_models: started",
    r"measure_latency: sample 2 of",
    r"register_champion: best of",
    r"report: started",
)
EPOCHS = (1, 2, 3, 5, 8, 12, 17, 23, 30, 38)


def environment(folder: Path, **variables: str) -> dict[str, str]:
    hidden = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "components")])
    return kept | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **variables}


class Running:
    """A command that was started; its output, both streams, is read line by line."""

    def __init__(self, folder: Path, command: list[str], **variables: str) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, env=environment(folder, **variables), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def read_to(self, pattern: str) -> bool:
        """Read lines up to one that matches; False at the end of the output."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if re.search(pattern, line):
                return True
        return False

    def finish(self) -> int:
        self.read_to("(?!)")
        assert self.process.stdout
        self.process.stdout.close()
        return self.process.wait(timeout=60)

    def end(self, number: signal.Signals, *, seconds: float = 45) -> int:
        """Send a signal; return the exit status, once nothing of the command runs any more."""
        started = time.monotonic()
        self.process.send_signal(number)
        status = self.finish()
        while left := processes_of(self.folder):
            assert time.monotonic() - started < seconds, left
            time.sleep(0.1)
        return status


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of the processes that were told a path in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(folder) in command and state != "Z":
            found.append(command)
    return found


def statuses(store: Path) -> dict[str, str]:
    """Return the status of MLflow's runs by their names, in the order of their start."""
    if not store.exists():
        return {}
    with closing(sqlite3.connect(store)) as connection:
        try:
            rows = connection.execute("select name, status, run_uuid from runs order by start_time").fetchall()
        except sqlite3.OperationalError:  # ended before it had tables
            return {}
    return {f"{name} {uuid}": status for name, status, uuid in rows}


def study_command(archive: Path, folder: Path, epochs: int = 10) -> list[str]:
    return [
        "pipelines.run", "--profile", "smoke", "--out", str(folder / "study"), "--models", "sasrec", "--llm", "none",
        "--latency-samples", "5", "--latency-users", "20", "--latency-batches", "1,8", "--global-time", "none",
        "--source", str(archive), "--any-checksum", "true", "--k-core", "2",
        "--overrides", f"training.epochs={epochs},training.patience={epochs}",
    ]  # fmt: skip


def end_study(command: list[str], folder: Path, moment: str, number: signal.Signals) -> list[str]:
    """Start a study and end it at a moment, a pattern of its output; return its lines."""
    running = Running(folder, command)
    assert running.read_to(moment), running.lines
    met, started = running.lines[-1], time.monotonic()
    assert running.end(number) == 128 + number, running.lines
    print(f"{met}: {time.monotonic() - started:.1f} s")
    assert not any("Traceback" in line or "Exception" in line for line in running.lines), running.lines
    assert running.lines[-1] == f"python -m pipelines.run: ended by {number.name}"
    assert "RUNNING" not in statuses(folder / "runs" / "mlflow.db").values()
    return running.lines


def end_study_at(archive: Path, folder: Path, moments: tuple[str, ...], number: signal.Signals) -> None:
    """End one study at one moment after the other, and compare it with one that nothing happened to.

    Stages that do not need each other come in another order each time (kfp.local takes them from a protobuf map, which
    has none): whichever moment is next counts.
    """
    undisturbed, disturbed = folder / "undisturbed", folder / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    left = moments
    while left:
        lines = end_study(study_command(archive, disturbed), disturbed, "|".join(left), number)
        left = tuple(moment for moment in left if not any(re.search(moment, line) for line in lines))
    found = statuses(disturbed / "runs" / "mlflow.db")
    assert [status for name, status in found.items() if "smoke" in name] == ["KILLED"]
    for place in (disturbed, undisturbed):
        done = Running(place, study_command(archive, place))
        assert done.finish() == 0, done.lines
    expected, got = (
        [row for row in json.loads((place / "study/results.json").read_text()) if "_seconds" not in row["metric"]]
        for place in (undisturbed, disturbed)
    )
    assert got == expected
    weights = "study/models/sasrec-seed0/model.safetensors"
    assert (disturbed / weights).read_bytes() == (undisturbed / weights).read_bytes()


def test_study_that_signals_end(archive: Path, tmp_path: Path) -> None:
    """SIGTERM, and SIGKILL of the same command: the stage ends with it, and the next study there says so of its run.

    Meanwhile another study is refused the folder. What resumes goes on in the runs that there are.
    """
    command = study_command(archive, tmp_path, epochs=2000)
    end_study(command, tmp_path, "sasrec seed 0 epoch 2/", signal.SIGTERM)
    assert set(statuses(tmp_path / "runs/mlflow.db").values()) == {"KILLED", "FINISHED"}
    again = Running(tmp_path, command)
    assert again.read_to("resumed after epoch"), again.lines
    assert not any("prepare_data: started" in line for line in again.lines)
    second = Running(tmp_path, command)
    assert second.finish() == 2
    refusal = f"{tmp_path}/study: process {again.process.pid} runs a study there; wait for it, or choose another --out"
    assert second.lines[-1] == f"python -m pipelines.run: error: {refusal}"
    assert again.end(signal.SIGKILL) == -signal.SIGKILL
    found = statuses(tmp_path / "runs/mlflow.db")
    assert [status for name, status in found.items() if " train " in name] == ["KILLED"]
    assert [status for name, status in found.items() if "smoke" in name] == ["RUNNING"]
    lines = end_study(command, tmp_path, "train_recommender sasrec seed 0: started", signal.SIGTERM)
    taken = next(at for at, line in enumerate(lines) if line.endswith("1 of 7 stages done earlier, not repeated"))
    assert taken < lines.index("opening the MLflow store (its first start takes a while)")
    assert set(statuses(tmp_path / "runs/mlflow.db")) == set(found)


def test_signal_that_another_thread_gets() -> None:
    """Any thread may get it; the main one, which only waits, has to wake up for it."""
    program = """if True:
        import signal, threading
        from pipelines.runners import HostProcesses
        from ssm4rec.runtime.signals import ended_by_signals
        with ended_by_signals(), HostProcesses().ending_stages():
            waiting = threading.Event()
            other = threading.Thread(target=waiting.wait, daemon=True)
            other.start()
            signal.pthread_kill(other.ident, signal.SIGTERM)
            threading.Event().wait()"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(Path()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert "Ended: SIGTERM" in done.stderr


def test_run_of_a_stage_that_tells_mlflow_nothing(tmp_path: Path) -> None:
    """Such as choose_settings: it finished, and is not left to the study's end, which takes it for killed."""
    program = """if True:
        import sys
        from pathlib import Path
        from pipelines.local import LocalStudy
        from pipelines.progress import Progress
        from pipelines.runners import HostProcesses
        from ssm4rec.tracking import start_study
        folder = Path(sys.argv[1])
        _, tracking = start_study(name="study", tags={}, folder=str(folder))
        study = LocalStudy(folder, "", HostProcesses(), tracking, lambda module: {}, Progress(), lambda process: None)
        study.start("image", ["python", "-m", "this"])"""
    tracked = environment(tmp_path, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db")
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=tracked, check=True)
    assert "FINISHED" in statuses(tmp_path / "mlflow.db").values()


def test_study_ends_with_make(archive: Path, tmp_path: Path) -> None:
    """SIGKILL of make, which can pass nothing on."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin/python").chmod(0o755)
    (tmp_path / ".installed").touch()
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    make = subprocess.Popen(
        ["make", "run", f"VENV={tmp_path}", "DATASET=ml-100k", f"SOURCE={archive}", f"OUT={tmp_path}/study", "LLM=none",
         "PROFILE=smoke", "ANY_CHECKSUM=true", "K_CORE=2"],
        cwd=ROOT, env=environment(tmp_path, **variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines: list[str] = []
    assert make.stdout
    for line in make.stdout:
        lines.append(line)
        if "prepare_data: started" in line:
            break
    make.kill()
    lines += make.stdout.readlines()
    make.stdout.close()
    make.wait()
    assert lines[-1] == "python -m pipelines.run: ended by SIGTERM\n", lines
    assert not processes_of(tmp_path / "study")
    assert set(statuses(tmp_path / "mlflow.db").values()) == {"KILLED"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_study_that_a_signal_ends_at_ten_moments(archive: Path, tmp_path: Path, number: signal.Signals) -> None:
    end_study_at(archive, tmp_path, MOMENTS, number)


STAGE = "ssm4rec.stages.train_recommender"


def handles(process: int, number: signal.Signals) -> bool:
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{process}/status").read_text())
    return bool(caught and int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize(
    ("program", "loaded", "number", "line"),
    [
        (STAGE, "", signal.SIGTERM, "ended by SIGTERM"),
        (STAGE, "libtorch_cpu", signal.SIGINT, "interrupted"),
        (STAGE, "numpy", signal.SIGHUP, "ended by SIGHUP"),
        ("pipelines.run", "", signal.SIGHUP, "ended by SIGHUP"),
        ("pipelines.run", "google", signal.SIGINT, "interrupted"),
    ],
)
def test_signal_while_a_program_is_imported(program: str, loaded: str, number: signal.Signals, line: str) -> None:
    """As soon as it handles SIGTERM (before, it is Python itself), and when it has a library of those it imports."""
    command = [sys.executable, "-m", program]
    with subprocess.Popen(command, env=environment(Path()), stderr=subprocess.PIPE, text=True) as running:
        while not handles(running.pid, signal.SIGTERM) or loaded not in Path(f"/proc/{running.pid}/maps").read_text():
            assert running.poll() is None
        running.send_signal(number)
        assert running.communicate()[1] == f"python -m {program}: {line}\n"
    assert running.returncode == 128 + number


def training(dataset: Path, folder: Path, *flags: str) -> list[str]:
    return [
        "--dataset-dir", str(dataset), "--model", "sasrec", "--profile", "smoke",
        "--overrides", "training.epochs=150,training.patience=150", "--device", "cpu", "--model-dir",
        str(folder / "model"), "--curve", str(folder / "curve.parquet"), *flags,
    ]  # fmt: skip


@pytest.fixture
def undisturbed(cycle_dataset: Path, tmp_path: Path) -> Callable[..., bytes]:
    """Return a function that gives the weights of a training that nothing happened to."""

    def weights(*flags: str) -> bytes:
        folder = tmp_path / "undisturbed"
        folder.mkdir()
        done = Running(folder, [STAGE, *training(cycle_dataset, folder, *flags)])
        assert done.finish() == 0, done.lines
        return (folder / "model/model.safetensors").read_bytes()

    return weights


def end_stage_at(dataset: Path, folder: Path, epochs: tuple[int, ...], number: signal.Signals, *flags: str) -> None:
    """End a training after one epoch and the other."""
    folder.mkdir()
    # Made before: on a busy machine the third epoch is over before MLflow has its tables.
    tracked = {"MLFLOW_TRACKING_URI": new_store(folder / "mlflow.db")}
    for epoch in epochs:
        running = Running(folder, [STAGE, *training(dataset, folder, *flags)], **tracked)
        assert running.read_to(rf"epoch {epoch}/150"), running.lines
        assert running.end(number) == 128 + number, running.lines
        last = f"python -m ssm4rec.stages.train_recommender: ended by {number.name}"
        assert running.lines[-1] == last.replace("ended by SIGINT", "interrupted")
        assert not any("Traceback" in line for line in running.lines), running.lines
    assert list(statuses(folder / "mlflow.db").values()) == ["KILLED"] * len(epochs)


def resume_stage(dataset: Path, folder: Path, *flags: str) -> bytes:
    """Return the weights that the same command comes to."""
    done = Running(folder, [STAGE, *training(dataset, folder, *flags)])
    assert done.finish() == 0, done.lines
    assert any("resumed after epoch" in line for line in done.lines)
    return (folder / "model/model.safetensors").read_bytes()


def test_stage_that_a_signal_ends(cycle_dataset: Path, tmp_path: Path, undisturbed: Callable[..., bytes]) -> None:
    end_stage_at(cycle_dataset, tmp_path / "ended", (3,), signal.SIGHUP)
    assert resume_stage(cycle_dataset, tmp_path / "ended") == undisturbed()


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--processes", "2")])
def test_stage_that_signals_end_at_ten_moments(
    cycle_dataset: Path, tmp_path: Path, undisturbed: Callable[..., bytes], flags: tuple[str, ...]
) -> None:
    end_stage_at(cycle_dataset, tmp_path / "ended", EPOCHS, signal.SIGTERM, *flags)
    assert resume_stage(cycle_dataset, tmp_path / "ended", *flags) == undisturbed(*flags)


def test_two_processes_that_a_signal_ends(cycle_dataset: Path, tmp_path: Path) -> None:
    end_stage_at(cycle_dataset, tmp_path / "ended", (5,), signal.SIGTERM, "--processes", "2")


def test_nobody_reads_the_output(archive: Path, tmp_path: Path) -> None:
    """As ``make run | head`` does."""
    command = [sys.executable, "-m", *study_command(archive, tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), **pipes) as running:
        running.stdout.readline()
        running.stdout.close()
        lines = running.stderr.read().splitlines()
    assert running.returncode == 128 + signal.SIGPIPE
    assert lines[-1] == "python -m pipelines.run: ended by SIGPIPE"
    assert "Traceback" not in "".join(lines)
    assert not processes_of(tmp_path)
    assert "RUNNING" not in statuses(tmp_path / "runs/mlflow.db").values()
