"""Write the report of a study from its files: report.html, report.md and results.json."""

from dataclasses import fields

from ssm4rec.artifacts.curve import read_curve
from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.report.language_model_files import RankerFiles, gather_language_models
from ssm4rec.report.measurements import gather_comparison, gather_latency, why_not_measured
from ssm4rec.report.recommenders import gather_recommenders
from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.report.settings import Settings
from ssm4rec.studies.comparative.report import report_sections, report_title
from ssm4rec.studies.comparative.study import gather_global_time, study_of
from ssm4rec.tracking.publish import publish


def run(options: Settings) -> None:
    """Read everything, render everything, then write."""
    manifest = read_manifest(options.dataset_dir)
    curves = [read_curve(path, "train_recommender") for path in options.curves]
    found = gather_recommenders(manifest, map(EvaluationSummary.read, options.evaluations), curves)
    rankers = RankerFiles(**{one.name: getattr(options, one.name) for one in fields(RankerFiles)})
    trainings = {(evaluation.model, evaluation.seed) for evaluation in found.trainings}
    study = study_of(
        found,
        language_models=gather_language_models(manifest, rankers, options.generations),
        comparison=gather_comparison(manifest, trainings, found.split, options.comparison),
        latency=gather_latency(manifest, trainings, options.latency, options.latency_samples),
        latency_failure=why_not_measured(options.latency),
        global_time=gather_global_time(
            options.dataset_dir,
            options.global_time_dataset,
            options.global_time_evaluations,
            options.global_time_comparison,
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


def main() -> None:
    """Run the stage."""
    run_stage(Settings.parser(), run)


if __name__ == "__main__":
    main()
