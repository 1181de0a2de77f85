"""Write the report of a reproduction study: ``python -m ssm4rec.stages.report_reproduction --help``."""

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.settings.command_line import naming, run_stage
from ssm4rec.settings.evaluated import read_evaluated
from ssm4rec.stages.report_reproduction.settings import Settings
from ssm4rec.studies.reproduction.report import reproduction_sections, reproduction_title
from ssm4rec.studies.reproduction.study import check_comparable, gather_reproduction
from ssm4rec.tracking.publish import publish


def run(options: Settings) -> None:
    """Read everything, render everything, then write."""
    manifest = read_manifest(options.dataset_dir)
    with naming(f"--dataset-dir {options.dataset_dir}"):
        check_comparable(manifest)
    dataset = read_sequences(options.dataset_dir)
    evaluated = read_evaluated(options, dataset)
    study = gather_reproduction(manifest, dataset, evaluated, options.resamples)
    publish(
        f"report reproduction {manifest['dataset']}",
        manifest["dataset"],
        reproduction_title(study),
        reproduction_sections(study),
        study.rows(),
        options,
    )


def main() -> None:
    """Run the stage."""
    run_stage(Settings.parser(), run)


if __name__ == "__main__":
    main()
