"""compare_models as a process: by hand, with KFP's executor input, and on input that is at fault."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
import yaml
from kfp import compiler, dsl

from ssm4rec.artifacts.candidates import write_candidates
from ssm4rec.artifacts.comparison import Comparison
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.names import BASELINES
from ssm4rec.artifacts.ranks import Origin, write_ranks
from ssm4rec.evaluation.baselines import baseline_rankings, baseline_scorers
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.stages.compare_models.__main__ import run
from ssm4rec.stages.compare_models.component import compare_models
from ssm4rec.stages.compare_models.settings import Settings
from tests.conftest import Refusal, WriteDataset

CPU = torch.device("cpu")


def evaluate(
    folder: Path, out: Path, model: str, seed: int, skill: float, split: str = "test", shards: int = 1
) -> dict[str, Path]:
    """Write the files of an evaluation: a model that knows the next item of a circle as well as ``skill`` says."""
    dataset = read_sequences(folder)
    generator = torch.Generator().manual_seed(seed)

    def score(items: torch.Tensor, lengths: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        scores = torch.randn(len(items), dataset.item_count, generator=generator)
        following = items.gather(1, lengths[:, None] - 1) % dataset.item_count
        return scores.scatter_add(1, following, torch.full(following.shape, skill))

    ranking = full_ranking(score, dataset, split, 50, CPU, 20)
    paths = {content: out / f"{model}-{seed}-{split}-{content}.parquet" for content in ("ranks", "candidates")}
    baselines = baseline_rankings(baseline_scorers(dataset, CPU), dataset, split, CPU)
    for content, write in (("ranks", write_ranks), ("candidates", write_candidates)):
        write(paths[content], Origin(dataset, model, seed, split, shards=shards), ranking, baselines)
    return paths


@pytest.fixture
def circle(write_dataset: "object") -> Path:
    """Users who walk round a circle of 60 items: the next item is certain."""
    return write_dataset([[(start + step) % 60 + 1 for step in range(6 + start % 9)] for start in range(120)])


@pytest.fixture
def evaluated(circle: Path, tmp_path: Path) -> list[dict[str, Path]]:
    models = (("sasrec", 0, 1.0), ("sasrec", 1, 1.0), ("2mamba4rec", 0, 5.0))
    return [evaluate(circle, tmp_path, *model) for model in models]


def flags(dataset: Path, evaluations: list[dict[str, Path]], out: Path, *more: object) -> list[str]:
    listed = [
        text for name in ("ranks", "candidates") for text in (f"--{name}", *(files[name] for files in evaluations))
    ]
    return [str(text) for text in ("--dataset-dir", dataset, *listed, "--comparison", out, "--resamples", 1000, *more)]


def process(*arguments: object) -> None:
    run(Settings.parser().parse_args([str(argument) for argument in arguments]))


def test_by_hand(circle: Path, evaluated: list[dict[str, Path]], tmp_path: Path) -> None:
    out = tmp_path / "out" / "comparison.json"
    command = [sys.executable, "-m", "ssm4rec.stages.compare_models", *flags(circle, evaluated, out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "differences of 3 pairs on test are in comparison.json" in done.stderr
    assert "interval without zero" not in done.stderr  # it does not know the profile: of smoke nothing is judged
    comparison = Comparison.read(out)
    assert (comparison.dataset, comparison.split, comparison.users, comparison.items) == ("toy", "test", 120, 60)
    rows = [row for row in comparison.models if (row.protocol, row.metric) == ("masked", "hit@10")]
    means = {row.model: row.mean.value for row in rows}
    assert means["2mamba4rec"] > means["sasrec"] > means["most-popular"]
    judged = [("2mamba4rec", 0), ("sasrec", 0), ("sasrec", 1), ("most-popular", None), ("markov", None)]
    assert [(row.protocol, row.model, row.seed) for row in comparison.recommendations] == [
        (protocol, *whose) for protocol in ("unmasked", "masked") for whose in judged
    ]
    process(*flags(circle, evaluated[::-1], tmp_path / "again.json"))
    assert (tmp_path / "again.json").read_bytes() == out.read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ["comparison.json"]


def test_other_shards_are_a_line_of_the_log(
    circle: Path, evaluated: list[dict[str, Path]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process(*flags(circle, evaluated, tmp_path / "alike.json"))
    assert "shards" not in caplog.text
    by_shards = evaluate(circle, tmp_path, "hydra4rec", 0, 1.0, shards=2)
    process(*flags(circle, [*evaluated, by_shards], tmp_path / "comparison.json"))
    [note] = Comparison.read(tmp_path / "comparison.json").notes
    assert "2: hydra4rec seed 0" in note
    assert caplog.messages.count(note) == 1


def test_the_executor_input_names_all_files_of_a_list(
    circle: Path, evaluated: list[dict[str, Path]], tmp_path: Path
) -> None:
    artifacts = {
        name: {"artifacts": [{"uri": str(files[name])} for files in evaluated]} for name in ("ranks", "candidates")
    }
    executor_input = json.dumps({"inputs": {"artifacts": artifacts}})
    out = tmp_path / "comparison.json"
    process(*flags(circle, [], out), "--executor-input", executor_input)
    assert {row.model for row in Comparison.read(out).models} == {"sasrec", "2mamba4rec", *BASELINES}


def test_input_at_fault_is_one_line_status_2_and_no_output(
    circle: Path,
    evaluated: list[dict[str, Path]],
    write_dataset: WriteDataset,
    tmp_path: Path,
    refusal: Refusal,
) -> None:
    other = write_dataset([[1, 2, 3, 4]] * 40, name="other", folder="other")
    foreign = evaluate(other, tmp_path / "foreign", "hydra4rec", 0, 1.0)
    earlier = evaluate(circle, tmp_path, "hydra4rec", 0, 1.0, split="validation")
    table = pyarrow.parquet.read_table(evaluated[0]["ranks"])
    changed = {}
    for name, content in {
        "empty": table.slice(0, 0),
        "fewer": table.slice(0, 100),
        "columns": table.drop_columns("rank_masked"),
        "nameless": table.replace_schema_metadata({}),
    }.items():
        changed[name] = {**evaluated[0], "ranks": tmp_path / f"{name}.parquet"}
        pyarrow.parquet.write_table(content, changed[name]["ranks"])
    rest = evaluated[1:]
    for expected, evaluations, more in (
        ("no ranks were given", [], []),
        ("ranks of another data set, other", [*evaluated, foreign], []),
        ("ranks of hydra4rec seed 0 are of the validation split", [*evaluated, earlier], []),
        ("empty.parquet: empty, not the ranks of an evaluation; run evaluate again", [*rest, changed["empty"]], []),
        ("are of different users", [*rest, changed["fewer"]], []),
        ("no column 'rank_masked'", [*rest, changed["columns"]], []),
        ("does not say what it is an evaluation of", [*rest, changed["nameless"]], []),
        ("two ranks files of sasrec seed 0", [evaluated[0], evaluated[0]], []),
        ("--resamples 5: at least 100", evaluated, ["--resamples", 5]),
        ("--seed -1: at least 0", evaluated, ["--seed", -1]),
        ("--executor-input: not JSON", [], ["--executor-input", "{{$}}"]),
    ):
        out = tmp_path / "out" / "comparison.json"
        assert expected in refusal(run, *flags(circle, evaluations, out), *more)
        assert not out.parent.exists()


def test_the_component_passes_every_flag_but_the_two_that_are_for_hands(tmp_path: Path) -> None:
    @dsl.container_component
    def made(files: dsl.Output[dsl.Dataset]):
        return dsl.ContainerSpec(image="any", command=["true"], args=[files.path])

    @dsl.container_component
    def evaluated(name: str, ranks: dsl.Output[dsl.Artifact], candidates: dsl.Output[dsl.Artifact]):
        return dsl.ContainerSpec(image="any", command=["true"], args=[name, ranks.path, candidates.path])

    @dsl.pipeline(name="compared")
    def pipeline():
        with dsl.ParallelFor(["one", "two"]) as name:
            task = evaluated(name=name)
        compare_models(
            dataset=made().outputs["files"],
            ranks=dsl.Collected(task.outputs["ranks"]),
            candidates=dsl.Collected(task.outputs["candidates"]),
            resamples=10_000,
            seed=0,
        )

    compiler.Compiler().compile(pipeline, str(tmp_path / "pipeline.yaml"))
    specification = yaml.safe_load((tmp_path / "pipeline.yaml").read_text())
    container = specification["deploymentSpec"]["executors"]["exec-compare-models"]["container"]
    assert container["command"] == ["python", "-m", "ssm4rec.stages.compare_models"]
    values = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    options = {flag for action in Settings.parser()._actions for flag in action.option_strings if flag.startswith("--")}
    assert set(values) == options - {"--help", "--ranks", "--candidates"}
    assert values["--executor-input"] == "{{$}}"
    inputs = specification["components"]["comp-compare-models"]["inputDefinitions"]["artifacts"]
    assert inputs["ranks"]["isArtifactList"]
    assert inputs["candidates"]["isArtifactList"]
