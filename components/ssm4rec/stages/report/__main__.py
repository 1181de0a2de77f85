"""Write the report of a study from its files: report.html, report.md and results.json."""

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Final

from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.command_line import StageParser, run_stage
from ssm4rec.data.dataset import read_manifest
from ssm4rec.executor_input import input_paths, optional_input_paths
from ssm4rec.outputs import input_path
from ssm4rec.publish import add_report_flags, publish
from ssm4rec.report.global_time import gather_global_time
from ssm4rec.report.language_model_files import RankerFiles, gather_language_models
from ssm4rec.report.measurements import gather_comparison, gather_latency, why_not_measured
from ssm4rec.report.study import gather_study
from ssm4rec.report.study_sections import report_sections, report_title
from ssm4rec.training.history import read_history

LISTS: Final = {
    "finetuned_rankings": "rankings.parquet of each fine-tuned ranker",
    "finetuned_summaries": "ranking.json of each, in the same order",
    "aligned_rankings": "rankings.parquet of each aligned ranker",
    "aligned_summaries": "ranking.json of each, in the same order",
    "tunings": "history.parquet of each fine-tuning, in the order of the fine-tuned rankers",
    "alignments": "alignment.parquet of each alignment, in the order of the aligned rankers",
    "generations": "generation.json of each evaluated generator",
    "comparison": "comparison.json, of compare_models; one",
    "global_time_dataset": "dataset folder of the same data, split by global-time; one",
    "global_time_evaluations": "metrics.json of each evaluation on it",
    "global_time_comparison": "comparison.json of these; one",
    "latency": "latency.json, of measure_latency; one",
    "latency_samples": "latency.parquet, of the same measurement; one",
}
"""Inputs that a study may go without."""


def build_parser() -> StageParser:
    """Return the stage's flags."""
    parser = StageParser("ssm4rec.stages.report", "Write the report of a study from its files.")
    parser.add_argument("--dataset-dir", type=input_path, required=True, help="dataset folder, of prepare_data")
    parser.add_argument(
        "--evaluations", type=input_path, nargs="*", default=[], metavar="FILE", help="metrics.json of each evaluation"
    )
    parser.add_argument(
        "--histories", type=input_path, nargs="*", default=[], metavar="FILE", help="history.parquet of each training"
    )
    for name, words in LISTS.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=input_path, nargs="*", default=[], metavar="FILE", help=words)
    parser.add_argument(
        "--executor-input",
        default="",
        help="KFP's executor input, which names the files in the place of the flags for lists; empty: by hand",
    )
    add_report_flags(parser, "every number of the study")
    return parser


def run(options: argparse.Namespace) -> None:
    """Read everything, render everything, then write."""
    manifest = read_manifest(options.dataset_dir)
    evaluations, histories, lists = _inputs(options)
    study = gather_study(manifest, map(EvaluationSummary.read, evaluations), map(read_history, histories))
    rankers = RankerFiles(**{field.name: lists[field.name] for field in fields(RankerFiles)})
    trainings = {(evaluation.model, evaluation.seed) for evaluation in study.trainings}
    study = replace(
        study,
        language_models=gather_language_models(manifest, rankers, lists["generations"]),
        comparison=gather_comparison(manifest, trainings, study.split, lists["comparison"]),
        latency=gather_latency(manifest, trainings, lists["latency"], lists["latency_samples"]),
        latency_failure=why_not_measured(lists["latency"]),
        global_time=gather_global_time(
            options.dataset_dir,
            *(lists[f"global_time_{name}"] for name in ("dataset", "evaluations", "comparison")),
        ),
    )
    sections = report_sections(study)
    publish(
        f"report {manifest['dataset']}",
        manifest["dataset"],
        report_title(study),
        sections,
        study.results_document(),
        options,
    )


def _inputs(options: argparse.Namespace) -> tuple[list[Path], list[Path], dict[str, list[Path]]]:
    """Return the files of evaluations, histories and the other lists."""
    if not options.executor_input:
        return options.evaluations, options.histories, {name: getattr(options, name) for name in LISTS}
    evaluations, histories = (input_paths(options.executor_input, name) for name in ("evaluations", "histories"))
    return evaluations, histories, {name: optional_input_paths(options.executor_input, name) for name in LISTS}


def main() -> None:
    """Run the stage."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()
