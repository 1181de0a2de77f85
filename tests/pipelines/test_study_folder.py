"""The folder of a study: what is not the study's own stays."""

from pathlib import Path

import pytest

from pipelines.stage_process import StageProcess
from pipelines.study_folder import StudyFolder
from ssm4rec.files import write_json


def test_a_link_is_replaced_and_what_is_no_link_stays(tmp_path: Path) -> None:
    said: list[str] = []
    folder = StudyFolder(tmp_path, "", said.append)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        folder._replace_link(tmp_path / "dataset", tmp_path / name)
    assert (tmp_path / "dataset").readlink() == Path("second")
    (tmp_path / "latency").mkdir()
    (tmp_path / "latency" / "notes.txt").write_text("mine")
    folder._replace_link(tmp_path / "latency", tmp_path / "first")
    assert (tmp_path / "latency" / "notes.txt").read_text() == "mine"
    assert said == [
        f"{tmp_path / 'latency'}: not a link of this study, so it stays as it is; what would be linked there is "
        f"{tmp_path / 'first'}"
    ]


@pytest.mark.parametrize(
    ("pipeline", "variant"),
    [
        ("comparative-study", []),
        ("long-history-study", ["window200"]),
        ("reproduction-study", ["best", "repeat-term"]),
    ],
)
def test_what_distinguishes_an_evaluation_is_the_study_that_it_is_of(
    pipeline: str, variant: list[str], tmp_path: Path
) -> None:
    """One model, trained on all stretches: in an ordinary study its evaluation is called as its training is."""
    recipe = {"model": {"maximum_length": 200, "repeat_term": True}, "training": {"stretches": "all"}}
    write_json(tmp_path / "config.json", {"model": "sasrec", "seed": 0, "profile": "best", "recipe": recipe})
    evaluate = ["python", "-m", "ssm4rec.stages.evaluate", "--model-dir", str(tmp_path), "--split", "test"]
    assert StageProcess(evaluate, tmp_path, 1, pipeline).variant == variant
    overrides = "training.stretches=all,model.maximum_length=200,model.repeat_term=true"
    train = ["python", "-m", "ssm4rec.stages.train_recommender", "--model", "sasrec", "--seed", "0"]
    train += ["--profile", "best", "--overrides", overrides]
    assert StageProcess(train, tmp_path, 1, pipeline).variant == variant
