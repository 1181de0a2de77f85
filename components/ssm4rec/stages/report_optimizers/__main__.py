"""Write the report of an optimizer study from its learning curves: report.html, report.md and results.json."""

from ssm4rec.artifacts.curve import read_curve
from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.report_optimizers.settings import Settings
from ssm4rec.studies.optimizers.report import optimizer_report_title, optimizer_sections
from ssm4rec.studies.optimizers.study import gather_optimizers
from ssm4rec.tracking.publish import publish


def run(options: Settings) -> None:
    """Read everything, render everything, then write."""
    sweep, compared = (
        [read_curve(path, "train_recommender") for path in paths] for paths in (options.sweep, options.comparison)
    )
    study = gather_optimizers(sweep, compared)
    publish(
        f"report optimizers {study.dataset}",
        study.dataset,
        optimizer_report_title(study),
        optimizer_sections(study),
        study.rows(),
        options,
    )


def main() -> None:
    """Run the stage."""
    run_stage(Settings.parser(), run)


if __name__ == "__main__":
    main()
