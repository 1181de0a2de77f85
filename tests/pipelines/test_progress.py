"""What a running study shows: time and tasks done, no stage's name twice, one moving line on a terminal."""

import io
import re
from pathlib import Path

import pytest

from pipelines import progress
from pipelines.packages import COMPILED
from pipelines.progress import Progress
from pipelines.spec import loops, read_spec
from pipelines.stage_process import StageProcess

TRAIN = ["python", "-m", "ssm4rec.stages.train_recommender", "--model", "sasrec", "--seed", "0"]
EPOCH = "sasrec seed 0 epoch {}/30: loss 6.1, validation ndcg@10 0.0424"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO) -> list[str]:
    """The lines without the time of day."""
    return [re.sub(r"^\[\d\d:\d\d", "[TIME", line) for line in stream.getvalue().splitlines()]


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


def test_time_left_is_told_from_the_pace_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, clock = io.StringIO(), iter([0.0, 120.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    told, train = Progress(0, stream), stage(1, TRAIN)
    told.started(train)
    told.line(train, EPOCH.format(3))
    assert shown(stream)[-1].endswith("epoch 3/30: loss 6.1, validation ndcg@10 0.0424, 18 min left")
    assert shown(stream)[-1].startswith("[TIME] "), "of an uncounted study nothing is numbered"


@pytest.mark.parametrize(("package", "more"), [("optimizer_study", True), ("comparative_study", False)])
def test_a_study_that_decides_on_trainings_as_it_runs_has_more_tasks_than_can_be_counted(
    package: str, more: bool
) -> None:
    known = [bool(loop.parameter) for loop in loops(read_spec(COMPILED / f"{package}.yaml")).values()]
    assert (not all(known)) == more
    stream = io.StringIO()
    Progress(22, stream, and_more=more).started(stage(1, TRAIN))
    assert shown(stream)[0].startswith("[TIME 0/22+] " if more else "[TIME 0/22] ")
