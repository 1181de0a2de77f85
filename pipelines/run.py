"""Run the comparative study on this machine: ``python -m pipelines.run --help`` (``make run``).

Executes pipelines/compiled/comparative_study.yaml, the same file a cluster gets. The study's folder receives
``report.html``, ``report.md``, ``results.json``, and links: ``dataset``, ``models/<model>-seed<seed>``,
``evaluations/<model>-seed<seed>``. The same command with the same ``--out`` goes on where a killed one was.
"""

import argparse
import datetime
import json
import os
import shutil
import sys
from pathlib import Path

from pipelines.compile import COMPILED
from pipelines.local import LocalStudy, StageProcess
from pipelines.parameters import add_study_parameters, study_arguments
from ssm4rec.command_line import StageParser, run_stage
from ssm4rec.contracts import MASKED, MOST_POPULAR, REPORT_HTML, REPORT_MARKDOWN, RESULTS, UNMASKED
from ssm4rec.files import make_folder
from ssm4rec.tracking import Tracker, start_study

RUNS = Path("runs")
MLFLOW_STORE = RUNS / "mlflow.db"
MLFLOW_ARTIFACTS = RUNS / "mlflow-artifacts"


def build_parser() -> StageParser:
    """Return the command line."""
    parser = StageParser("pipelines.run", "Run the comparative study on this machine.")
    add_study_parameters(parser)
    parser.add_argument("--out", default="", help="the study's folder; empty: runs/<time>")
    return parser


def run(options: argparse.Namespace) -> None:
    """Run the study and say where everything is."""
    arguments = study_arguments(options)
    stamp = datetime.datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
    folder = Path(options.out or RUNS / stamp).absolute()
    make_folder(folder / "logs")
    # A later run into the same folder finds the checkpoints of a killed one.
    arguments["checkpoint_dir"] = arguments["checkpoint_dir"] or str(folder / "checkpoints")
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        RUNS.mkdir(exist_ok=True)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{MLFLOW_STORE.absolute()}"
    print("opening the MLflow store (its first start takes a while)", flush=True)
    models = sorted({training["model"] for training in arguments["trainings"]})
    tracker, tracking = start_study(
        name=f"{arguments['dataset']} {arguments['profile']} {stamp}",
        tags={"stage": "study", "dataset": arguments["dataset"], "profile": arguments["profile"]},
        artifacts=MLFLOW_ARTIFACTS.absolute().as_uri(),
    )
    tracker.settings({**arguments, "trainings": json.dumps(arguments["trainings"]), "models": ", ".join(models)})
    study = LocalStudy(
        folder, tracking, _thread_limits(len(arguments["trainings"])), lambda line: print(line, flush=True)
    )
    try:
        succeeded = study.run(COMPILED / "comparative_study.yaml", arguments)
    except BaseException:
        tracker.finish("KILLED")
        raise
    if not succeeded:
        tracker.finish("FAILED")
        for process in study.failed:
            print(
                f"FAILED {process.label}: {_last_line(process.log)}\n       (its whole output: {process.log})",
                file=sys.stderr,
            )
        sys.exit(max(process.returncode for process in study.failed))
    for process in study.processes:
        _link(process, folder)
    _track_results(tracker, folder)
    print(_closing_words(folder))


def _thread_limits(trainings: int) -> dict[str, str]:
    """Share the cores among the two tasks that kfp.local runs at a time, unless the user has decided."""
    if "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // min(2, trainings)))}


def _link(process: StageProcess, folder: Path) -> None:
    """Put what a stage wrote where a person looks for it."""
    match process.module.rpartition(".")[2]:
        case "prepare_data":
            _replace_link(folder / "dataset", Path(process.flag("--dataset-dir")))
        case "train_recommender":
            _replace_link(folder / "models" / "-seed".join(process.training), Path(process.flag("--model-dir")))
        case "evaluate":
            target = Path(process.flag("--metrics")).parent
            _replace_link(folder / "evaluations" / "-seed".join(process.training), target)
        case "report":
            shutil.copyfile(process.flag("--report-html"), folder / REPORT_HTML)
            shutil.copyfile(process.flag("--report-markdown"), folder / REPORT_MARKDOWN)
            shutil.copyfile(process.flag("--results"), folder / RESULTS)


def _replace_link(link: Path, target: Path) -> None:
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(target, link.parent))


def _track_results(tracker: Tracker, folder: Path) -> None:
    """Log the study's numbers and report to its own MLflow run; a model's seeds count as steps."""
    for row in json.loads((folder / RESULTS).read_text(encoding="utf-8")):
        tracker.metrics({f"{row['model']}/{row['protocol']}/{row['metric']}": row["value"]}, row["seed"] or 0)
    for name in (REPORT_HTML, REPORT_MARKDOWN, RESULTS):
        tracker.artifact(folder / name)
    tracker.finish("FINISHED")


def _closing_words(folder: Path) -> str:
    """Return the study's table and where everything is."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in json.loads((folder / RESULTS).read_text(encoding="utf-8")):
        values.setdefault((row["model"], row["protocol"], row["metric"]), []).append(row["value"])
    lines = [f"{'':14}{'history not masked (the paper)':>32}{'history masked':>32}"]
    lines.append(f"{'model':14}" + f"{'HIT@10':>12}{'NDCG@10':>10}{'MRR@10':>10}" * 2)
    for model in sorted({model for model, _, _ in values}, key=lambda name: (name == MOST_POPULAR, name)):
        cells = [
            sum(found) / len(found)
            for protocol in (UNMASKED, MASKED)
            for metric in ("hit@10", "ndcg@10", "mrr@10")
            for found in [values[model, protocol, metric]]
        ]
        widths = (12, 10, 10) * 2
        lines.append(f"{model:14}" + "".join(f"{cell:{width}.4f}" for cell, width in zip(cells, widths, strict=True)))
    return "\n".join(
        [
            "",
            *lines,
            "",
            f"report   {folder / REPORT_HTML}",
            f"numbers  {folder / RESULTS}",
            f"MLflow   {os.environ['MLFLOW_TRACKING_URI']} (make mlflow)",
        ]
    )


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def main() -> None:
    """Run from the command line."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()
