"""Write the report of an adapter study: report.html, report.md, results.json and its figures."""

import argparse

from ssm4rec.command_line import StageParser, run_stage
from ssm4rec.executor_input import input_paths
from ssm4rec.outputs import input_path
from ssm4rec.publish import add_report_flags, publish
from ssm4rec.report.adapter_sections import adapter_report_title, adapter_sections
from ssm4rec.report.adapters import gather_adapters


def build_parser() -> StageParser:
    """Return the stage's flags."""
    parser = StageParser("ssm4rec.stages.report_adapters", "Write the report of an adapter study.")
    parser.add_argument(
        "--adapters", type=input_path, nargs="*", default=[], metavar="DIR", help="adapter folders of finetune_llm"
    )
    parser.add_argument(
        "--histories",
        type=input_path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="history.parquet of each, in that order",
    )
    parser.add_argument(
        "--executor-input", default="", help="KFP's executor input, in the place of the two flags; empty: by hand"
    )
    add_report_flags(parser, "a row per fine-tuning")
    return parser


def run(options: argparse.Namespace) -> None:
    """Read everything, render everything, then write."""
    adapters, histories = options.adapters, options.histories
    if options.executor_input:
        adapters, histories = (input_paths(options.executor_input, name) for name in ("adapters", "histories"))
    study = gather_adapters(adapters, histories)
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
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()
