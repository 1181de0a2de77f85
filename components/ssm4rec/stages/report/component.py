"""The report stage as KFP sees it."""

from typing import List  # noqa: UP035 (kfp reads lists of artifacts from typing.List)

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Output

from ssm4rec.images import CPU_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def report(
    dataset: Input[Dataset],
    evaluations: Input[List[Artifact]],  # noqa: ARG001, UP006
    histories: Input[List[Artifact]],  # noqa: ARG001, UP006
    report_html: Output[HTML],
    report_markdown: Output[Markdown],
    results: Output[Artifact],
) -> dsl.ContainerSpec:
    """Write the study's report.

    Args:
        dataset: the dataset folder; its manifest is read.
        evaluations: metrics.json of every evaluation.
        histories: history.parquet of every training.
        report_html: the report as one page.
        report_markdown: the report as Markdown.
        results: results.json, every number of the study.
    """
    # evaluations and histories are in no flag: the stage reads them from the executor input, as the .path of a
    # list is that of its first artifact.
    return dsl.ContainerSpec(
        image=CPU_IMAGE,
        command=["python", "-m", "ssm4rec.stages.report"],
        args=[
            "--dataset-dir",
            dataset.path,
            "--executor-input",
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            "--report-html",
            report_html.path,
            "--report-markdown",
            report_markdown.path,
            "--results",
            results.path,
        ],
    )
