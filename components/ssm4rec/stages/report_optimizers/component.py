"""The report_optimizers stage as KFP sees it."""

from typing import List  # noqa: UP035 (kfp reads lists of artifacts from typing.List)

from kfp import dsl
from kfp.dsl import HTML, Artifact, Input, Markdown, Output

from ssm4rec.images import CPU_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def report_optimizers(
    sweep: Input[List[Artifact]],  # noqa: ARG001, UP006
    comparison: Input[List[Artifact]],  # noqa: ARG001, UP006
    report_html: Output[HTML],
    report_markdown: Output[Markdown],
    results: Output[Artifact],
    figures: Output[Artifact],
) -> dsl.ContainerSpec:
    """Write the report of an optimizer study.

    Args:
        sweep: history.parquet of every training of the sweep.
        comparison: history.parquet of every training of the comparison.
        report_html: the report as one page.
        report_markdown: the report as Markdown.
        results: results.json, a row per training.
        figures: a folder, each figure as PNG and its numbers as CSV.
    """
    # The lists are in no flag: the stage reads them from the executor input.
    return dsl.ContainerSpec(
        image=CPU_IMAGE,
        command=["python", "-m", "ssm4rec.stages.report_optimizers"],
        args=[
            "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            "--report-html", report_html.path,
            "--report-markdown", report_markdown.path,
            "--results", results.path,
            "--figures", figures.path,
        ],
    )  # fmt: skip
