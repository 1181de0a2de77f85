"""The folder of a study: what is linked there, under which names; what is not the study's own stays."""

import re
from pathlib import Path

import pytest

from pipelines.stage_process import StageProcess
from pipelines.study_folder import _PLACES, StudyFolder
from ssm4rec.artifacts.registration import RegistrationFacts
from ssm4rec.runtime.files import read_json, write_json


def evaluated(folder: Path, seed: int) -> StageProcess:
    """Write what a training and its evaluation do, of KFP's names; return the evaluation."""
    made = folder / "artifacts" / "run" / f"iteration-{seed}"
    write_json(made / "model" / "config.json", {"model": "sasrec", "seed": seed})
    flags = ["--model-dir", str(made / "model")]
    for name in ("ranks", "candidates", "metrics"):
        write_json(made / "evaluate" / name, seed)
        flags += [f"--{name}", str(made / "evaluate" / name)]
    return StageProcess(["python", "-m", "ssm4rec.stages.evaluate", *flags], folder, 1)


def test_a_finished_run_forgets_the_links_of_others_alone(tmp_path: Path) -> None:
    """It finds what it shares with an earlier one again; until it is done, nothing that was there is gone."""
    processes = [evaluated(tmp_path, seed) for seed in (0, 1)]
    earlier = StudyFolder(tmp_path, "", print)
    for process in processes:
        earlier.receive(process)
    own = tmp_path / "evaluations" / "sasrec-seed0" / "notes.txt"
    own.write_text("mine")
    (tmp_path / "mine").symlink_to(tmp_path / "artifacts" / "run")
    (tmp_path / "evaluations" / "best").symlink_to("sasrec-seed1")
    folder = StudyFolder(tmp_path, "", print)
    folder.find(Path(processes[1].flag("--metrics")).parent)
    assert read_json(tmp_path / "evaluations" / "sasrec-seed0" / "ranks.parquet") == 0
    folder.forget_earlier_runs()
    assert list(own.parent.iterdir()) == [own]
    names = {"ranks.parquet", "candidates.parquet", "metrics.json"}
    assert {path.name for path in (tmp_path / "evaluations" / "best").iterdir()} == names
    assert (tmp_path / "mine").exists()
    own.unlink()
    StudyFolder(tmp_path, "", print).forget_earlier_runs()
    assert {path.name for path in tmp_path.iterdir()} == {"artifacts", "mine", "evaluations"}
    assert {path.name for path in (tmp_path / "evaluations").iterdir()} == {"best", "sasrec-seed0"}  # both are a user's


def test_no_secret_of_an_address_is_kept_with_what_a_stage_wrote(tmp_path: Path) -> None:
    process = evaluated(tmp_path, 0)
    process.command.extend(["--source", "http://me:hush@example.org/a.csv?signature=abc"])
    StudyFolder(tmp_path, "", print).receive(process)
    kept = Path(process.flag("--metrics")).with_name("command.json").read_text()
    assert "http://example.org/a.csv" in kept
    assert "hush" not in kept
    assert "abc" not in kept


@pytest.mark.parametrize(("dataset", "heading"), [("ml-1m", "history unmasked (the paper)"), ("own-shop", "masked")])
def test_the_table_names_the_paper_where_it_has_the_data_set(dataset: str, heading: str, tmp_path: Path) -> None:
    rows = [
        {"dataset": dataset, "splitting": "leave-one-out", "model": model, "protocol": protocol, "metric": metric,
         "value": 0.25}
        for model in ("sasrec", "most-popular-lately")
        for protocol in ("unmasked", "masked") for metric in ("hit@10", "ndcg@10", "mrr@10")
    ]  # fmt: skip
    write_json(tmp_path / "results.json", rows)
    first, names, model, longest = StudyFolder(tmp_path, "", print).table().splitlines()
    assert heading in first
    assert ("paper" in first) == (dataset == "ml-1m")
    assert model.split() == ["sasrec", *6 * ["0.2500"]]
    assert len(first) == len(names) == len(model) == len(longest)


def test_files_are_called_as_the_readme_does() -> None:
    readme = (Path(__file__).parents[2] / "components" / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[(\w+)\]\(\S+\) \|[^|]*\|([^|]*)\|", readme, re.MULTILINE))
    assert rows.keys() == {*_PLACES, "recommend_all"}, "which no study runs"
    for stage, places in _PLACES.items():
        names = {place.rpartition("/")[2].replace("-{}", "") for place in places.values()}
        assert {name for name in names if "." in name} <= {*re.findall("`([^`]*)`", rows[stage])}, stage


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


def test_a_tracked_run_is_called_from_its_start_as_its_stage_will_call_it(tmp_path: Path) -> None:
    """A stage that is killed before it names its run leaves none with a name of another form."""
    write_json(tmp_path / "config.json", {"model": "sasrec", "seed": 0, "label": "window50"})
    data = ["--dataset-dir", str(tmp_path)]
    evaluate = ["python", "-m", "ssm4rec.stages.evaluate", "--model-dir", str(tmp_path), *data, "--split", "test"]
    train = ["python", "-m", "ssm4rec.stages.train_recommender", *data, "--model", "lrurec", "--seed", "3"]
    assert StageProcess(train, tmp_path, 1).tracked_name == "train_recommender lrurec seed 3", "of data not prepared"
    write_json(tmp_path / "manifest.json", {"dataset": "toy", "split": {"name": "global-time"}})
    assert StageProcess(train, tmp_path, 1).tracked_name == "lrurec s3 global-time train"
    assert StageProcess(evaluate, tmp_path, 1).tracked_name == "sasrec window50 s0 global-time"
    evaluate[-1] = "validation"
    name = "sasrec window50 s0 global-time validation"
    assert StageProcess(evaluate, tmp_path, 1).tracked_name == name
    compare = ["python", "-m", "ssm4rec.stages.compare_models", *data]
    assert StageProcess(compare, tmp_path, 1).tracked_name == "compare_models global-time"


def test_a_ranker_is_finetuned_or_aligned(tmp_path: Path) -> None:
    for stage, control, part in (
        ("finetune_llm", False, "finetuned"), ("align_llm", False, "aligned"), ("align_llm", True, "winners"),
    ):  # fmt: skip
        ranker = {"stage": stage, "winners_alone": control, "label": "usgm-0.1", "source": "hub/llama", "seed": 3}
        write_json(tmp_path / "ranker.json", ranker)
        rank = ["python", "-m", "ssm4rec.stages.rank_candidates", "--adapter-dir", str(tmp_path)]
        assert StageProcess(rank, tmp_path, 1).variant == [part, "usgm-0.1"]


def test_a_model_that_no_mlflow_took_is_offered_again_and_no_other(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "", print)
    for version, offered in (("", True), ("2", False)):
        made = tmp_path / "artifacts" / f"run{version}"
        (made / "champion").mkdir(parents=True)
        facts = RegistrationFacts("sasrec", 0, "toy", "f" * 64, "ssm4rec-toy", version, False, "said")
        facts.write(made / "registration")
        flags = ["--champion-dir", str(made / "champion"), "--registration", str(made / "registration")]
        assert not folder.unregistered(made)  # no stage of ours wrote there, as far as is known
        folder.receive(StageProcess(["python", "-m", "ssm4rec.stages.register_champion", *flags], tmp_path, 1))
        assert folder.unregistered(made) == offered
    evaluation = evaluated(tmp_path, 0)
    folder.receive(evaluation)
    assert not folder.unregistered(Path(evaluation.flag("--metrics")).parent)
