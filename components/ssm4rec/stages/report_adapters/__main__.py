"""Write the report of an adapter study: report.html, report.md, results.json and its figures."""

from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.report_adapters.settings import Settings
from ssm4rec.studies.adapters.report import adapter_report_title, adapter_sections
from ssm4rec.studies.adapters.study import gather_adapters
from ssm4rec.tracking.publish import publish


def run(options: Settings) -> None:
    """Read everything, render everything, then write."""
    study = gather_adapters(options.adapters, options.curves)
    sections = adapter_sections(study)
    publish(
        f"report adapters {study.dataset}",
        study.dataset,
        adapter_report_title(study),
        sections,
        study.results(),
        options,
    )


def main() -> None:
    """Run the stage."""
    run_stage(Settings.parser(), run)


if __name__ == "__main__":
    main()
