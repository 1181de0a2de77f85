"""The report_reproduction stage as KFP sees it."""

from typing import List  # noqa: UP035 (kfp reads lists of artifacts from typing.List)

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Output

from ssm4rec.images import CPU_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def report_reproduction(
    dataset: Input[Dataset],
    evaluations: Input[List[Artifact]],  # noqa: ARG001, UP006
    ranks: Input[List[Artifact]],  # noqa: ARG001, UP006
    resamples: int,
    report_html: Output[HTML],
    report_markdown: Output[Markdown],
    results: Output[Artifact],
    figures: Output[Artifact],
) -> dsl.ContainerSpec:
    """Write the report of a reproduction study.

    Args:
        dataset: the dataset folder, of ml-1m in RecBole's order of events.
        evaluations: metrics.json of every evaluation.
        ranks: ranks.parquet of every evaluation, in the same order.
        resamples: bootstrap draws of the users.
        report_html: the report as one page.
        report_markdown: the report as Markdown.
        results: results.json, every number of the study.
        figures: a folder, each figure as PNG and its numbers as CSV.
    """
    # The lists are in no flag: the stage reads them from the executor input.
    return dsl.ContainerSpec(
        image=CPU_IMAGE,
        command=["python", "-m", "ssm4rec.stages.report_reproduction"],
        args=[
            "--dataset-dir", dataset.path,
            "--resamples", resamples,
            "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            "--report-html", report_html.path,
            "--report-markdown", report_markdown.path,
            "--results", results.path,
            "--figures", figures.path,
        ],
    )  # fmt: skip
