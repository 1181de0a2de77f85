"""What a running study shows: time and tasks done, no stage's name twice, one moving line on a terminal."""

import fcntl
import io
import os
import pty
import re
import struct
import termios
from pathlib import Path

import pytest

from pipelines import progress
from pipelines.packages import COMPILED
from pipelines.progress import Progress
from pipelines.spec import loops, read_spec
from pipelines.stage_process import StageProcess

TRAIN = ["python", "-m", "ssm4rec.stages.train_recommender", "--model", "sasrec", "--seed", "0"]
EPOCH = "sasrec seed 0 epoch {}/30: loss 6.1, validation ndcg@10 0.0424"


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a second may be left; a test that wants that says when it is."""
    monkeypatch.setattr(progress.time, "monotonic", lambda: 0.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO) -> list[str]:
    """The lines without the time of day."""
    return [re.sub(r"^\[\d\d:\d\d", "[TIME", line) for line in stream.getvalue().splitlines()]


def read_to(terminal: int, text: str) -> str:
    """Read a pseudo-terminal, which hands over what it has in parts, up to a text."""
    found = ""
    while text not in found:
        found += os.read(terminal, 100_000).decode()
    return found


def stage(number: int, command: list[str]) -> StageProcess:
    return StageProcess(command, Path("logs"), number)


def run(stream: io.StringIO) -> None:
    told, train = Progress(19, stream), stage(2, TRAIN)
    prepare = stage(1, ["python", "-m", "ssm4rec.stages.prepare_data"])
    told.started(prepare)
    told.line(prepare, "1,349 of 1,349 items have a title")
    prepare.returncode = 0
    told.ended(prepare)
    told.started(train)
    for epoch in (1, 2):
        told.line(train, EPOCH.format(epoch))
    train.returncode = 1
    told.ended(train)
    told.say("report  there")


def test_a_log_gets_every_line_once() -> None:
    stream = io.StringIO()
    run(stream)
    assert shown(stream) == [
        "[TIME 0/19] prepare_data: started, log in logs/01-prepare_data.log",
        "[TIME 0/19] prepare_data: 1,349 of 1,349 items have a title",
        "[TIME 1/19] prepare_data: done",
        "[TIME 1/19] train_recommender sasrec seed 0: started, log in logs/02-train_recommender-sasrec-seed-0.log",
        "[TIME 1/19] sasrec seed 0 epoch 1/30: loss 6.1, validation ndcg@10 0.0424",
        "[TIME 1/19] sasrec seed 0 epoch 2/30: loss 6.1, validation ndcg@10 0.0424",
        "report  there",
    ]


def test_on_a_terminal_a_training_has_one_line_that_moves_and_goes() -> None:
    stream = Terminal()
    run(stream)
    lines = stream.getvalue().split("\n")
    moved = [line for line in lines if "epoch 1/30" in line]
    assert len(moved) == 1
    assert "\r" in moved[0]
    assert "epoch 2/30" in moved[0]
    assert re.fullmatch(r".*\r *\rreport  there", moved[0]), "its place is wiped for the next line"


@pytest.mark.parametrize(
    ("lines", "times", "left"),
    [
        ([EPOCH.format(3)], [120.0], "18 min left"),  # at 40 s an epoch since the stage's start
        ([EPOCH.format(0), EPOCH.format(1)], [100.0, 102.0], "58 s left"),  # the 100 s of loading are no epoch's
        (["resumed after epoch 20 from there", EPOCH.format(21)], [100.0, 160.0], "9 min left"),
        # Again, on more data.
        ([EPOCH.format(epoch) for epoch in (0, 29, 0, 1)], [0.0, 29.0, 90.0, 91.0], "29 s left"),
        ([EPOCH.format(0), EPOCH.format(30)], [0.0, 300.0], ""),
    ],
)
def test_time_left_is_told_from_the_pace_since_counting_began(
    lines: list[str], times: list[float], left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, clock = io.StringIO(), iter([0.0, *times])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    told, train = Progress(0, stream), stage(1, TRAIN)
    told.started(train)
    for line in lines:
        told.line(train, line)
    subject, _, rest = lines[-1].partition(":")
    assert shown(stream)[-1] == f"[TIME] {subject}{left and f', {left}'}:{rest}", "of an uncounted study no number"


def test_the_time_left_is_seen_on_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    clock = iter([0.0, 120.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with os.fdopen(its, "w") as stream:
        told, train = Progress(19, stream), stage(1, TRAIN)
        told.started(train)
        told.line(train, EPOCH.format(3) + ", validation hit@10 0.0912, 41,320 targets per second")
        stream.flush()
        written = read_to(ours, "loss")
    os.close(ours)
    assert "sasrec seed 0 epoch 3/30, 18 min left: loss" in written
    assert "targets per second" not in written


def test_stages_of_an_earlier_run_are_counted_as_done() -> None:
    stream = io.StringIO()
    told, evaluate = Progress(7, stream), stage(1, ["python", "-m", "ssm4rec.stages.evaluate"])
    told.taken_over()
    told.started(evaluate)
    told.taken_over()
    evaluate.returncode = 0
    told.ended(evaluate)
    assert [line.partition("]")[0] for line in shown(stream)] == ["[TIME 1/7", "[TIME 3/7"]


@pytest.mark.parametrize("columns", [0, 100])
def test_a_terminal_without_a_width_gets_whole_lines(columns: int) -> None:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    with os.fdopen(its, "w") as stream:
        told, train = Progress(2, stream), stage(1, TRAIN)
        told.started(train)
        for epoch in (1, 2):
            told.line(train, EPOCH.format(epoch))
        train.returncode = 0
        told.ended(train)
        stream.flush()
        written = read_to(ours, ": done")
    os.close(ours)
    lines = written.replace("\r\n", "\n").split("\n")
    whole = [line for line in lines if re.fullmatch(r"\[\d\d:\d\d 0/2\] sasrec seed 0 epoch [12]/30: .*", line)]
    assert len(whole) == (0 if columns else 2)
    assert any("\r" in line for line in lines) == bool(columns)


def test_what_each_evaluation_says_of_a_baseline_is_shown_once() -> None:
    stream = io.StringIO()
    told = Progress(9, stream)
    for number in (1, 2):
        evaluation = stage(number, ["python", "-m", "ssm4rec.stages.evaluate"])
        told.started(evaluation)
        told.line(evaluation, f"model {number} on test: ndcg@10 0.1")
        for _ in range(2):  # a task may say a thing twice
            told.line(evaluation, "most-popular on test: ndcg@10 0.0")
    lines = [line.partition("evaluate: ")[2] for line in shown(stream)]
    assert [line for line in lines if "on test" in line] == [
        "model 1 on test: ndcg@10 0.1",
        *["most-popular on test: ndcg@10 0.0"] * 2,
        "model 2 on test: ndcg@10 0.1",
    ]


@pytest.mark.parametrize(("package", "more"), [("optimizer_study", True), ("comparative_study", False)])
def test_a_study_that_decides_on_trainings_as_it_runs_has_more_tasks_than_can_be_counted(
    package: str, more: bool
) -> None:
    known = [bool(loop.parameter) for loop in loops(read_spec(COMPILED / f"{package}.yaml")).values()]
    assert (not all(known)) == more
    stream = io.StringIO()
    Progress(22, stream, and_more=more).started(stage(1, TRAIN))
    assert shown(stream)[0].startswith("[TIME 0/22+] " if more else "[TIME 0/22] ")
