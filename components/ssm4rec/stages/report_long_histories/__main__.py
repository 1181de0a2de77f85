"""Write the report of a long-history study: ``python -m ssm4rec.stages.report_long_histories --help``."""

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.report.measurements import gather_latency
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.evaluated import read_evaluated
from ssm4rec.stages.report_long_histories.settings import Settings
from ssm4rec.studies.long_histories.report import long_history_sections, long_history_title
from ssm4rec.studies.long_histories.study import gather_long_histories
from ssm4rec.tracking.publish import publish


def run(options: Settings) -> None:
    """Read everything, render everything, then write."""
    manifest, dataset = read_manifest(options.dataset_dir), read_sequences(options.dataset_dir)
    evaluated = read_evaluated(options, dataset)
    trainings = {(evaluation.model, evaluation.seed) for evaluation, _ in evaluated}
    latency = gather_latency(manifest, trainings, options.latency, None)
    if latency is None:
        raise InputError("--latency: none; measure one (measure_latency)")
    study = gather_long_histories(manifest, dataset, evaluated, latency, options.resamples)
    sections = long_history_sections(study)
    publish(
        f"report long histories {study.dataset}",
        study.dataset,
        long_history_title(study),
        sections,
        study.rows(),
        options,
    )


def main() -> None:
    """Run the stage."""
    run_stage(Settings.parser(), run)


if __name__ == "__main__":
    main()
