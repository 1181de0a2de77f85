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
    finetuned_rankings: Input[List[Artifact]],  # noqa: ARG001, UP006
    finetuned_summaries: Input[List[Artifact]],  # noqa: ARG001, UP006
    aligned_rankings: Input[List[Artifact]],  # noqa: ARG001, UP006
    aligned_summaries: Input[List[Artifact]],  # noqa: ARG001, UP006
    tunings: Input[List[Artifact]],  # noqa: ARG001, UP006
    alignments: Input[List[Artifact]],  # noqa: ARG001, UP006
    generations: Input[List[Artifact]],  # noqa: ARG001, UP006
    report_html: Output[HTML],
    report_markdown: Output[Markdown],
    results: Output[Artifact],
) -> dsl.ContainerSpec:
    """Write the study's report.

    Args:
        dataset: the dataset folder; its manifest is read.
        evaluations: metrics.json of every evaluation.
        histories: history.parquet of every training.
        finetuned_rankings: rankings.parquet of every fine-tuned ranker; like the lists below it may be empty.
        finetuned_summaries: ranking.json of each.
        aligned_rankings: rankings.parquet of every aligned ranker.
        aligned_summaries: ranking.json of each.
        tunings: history.parquet of every fine-tuning.
        alignments: alignment.parquet of every alignment.
        generations: generation.json of every generator.
        report_html: the report as one page.
        report_markdown: the report as Markdown.
        results: results.json, every number of the study.
    """
    # The lists are in no flag: the stage reads them from the executor input, as the .path of a list is that of its
    # first artifact.
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
