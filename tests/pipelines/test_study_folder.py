"""The folder of a study: what is not the study's own stays."""

from pathlib import Path

import pytest

from pipelines.stage_process import StageProcess
from pipelines.study_folder import StudyFolder
from ssm4rec.runtime.files import write_json


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


@pytest.mark.parametrize(("label", "variant"), [("", []), ("window200", ["window200"])])
def test_what_distinguishes_a_task_is_the_label_of_its_training(label: str, variant: list[str], tmp_path: Path) -> None:
    """A training is told its label, and an evaluation reads it in the model's folder."""
    write_json(tmp_path / "config.json", {"model": "sasrec", "seed": 0, "label": label})
    evaluate = ["python", "-m", "ssm4rec.stages.evaluate", "--model-dir", str(tmp_path), "--split", "test"]
    assert StageProcess(evaluate, tmp_path, 1).variant == variant
    evaluate[-1] = "validation"
    assert StageProcess(evaluate, tmp_path, 1).variant == ["validation", *variant]
    train = ["python", "-m", "ssm4rec.stages.train_recommender", "--model", "sasrec", "--seed", "0", "--label", label]
    assert StageProcess(train, tmp_path, 1).variant == variant


def test_a_ranker_is_finetuned_or_aligned(tmp_path: Path) -> None:
    for stage, part in (("finetune_llm", "finetuned"), ("align_llm", "aligned")):
        ranker = {"stage": stage, "label": "usgm-0.1", "source": "hub/llama", "seed": 3}
        write_json(tmp_path / "ranker.json", ranker)
        rank = ["python", "-m", "ssm4rec.stages.rank_candidates", "--adapter-dir", str(tmp_path)]
        assert StageProcess(rank, tmp_path, 1).variant == [part, "usgm-0.1"]
