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
    figures: Output[Artifact],
    finetuned_rankings: Input[List[Artifact]] = None,  # noqa: ARG001, UP006
    finetuned_summaries: Input[List[Artifact]] = None,  # noqa: ARG001, UP006
    aligned_rankings: Input[List[Artifact]] = None,  # noqa: ARG001, UP006
    aligned_summaries: Input[List[Artifact]] = None,  # noqa: ARG001, UP006
    tunings: Input[List[Artifact]] = None,  # noqa: ARG001, UP006
    alignments: Input[List[Artifact]] = None,  # noqa: ARG001, UP006
    generations: Input[List[Artifact]] = None,  # noqa: ARG001, UP006
    comparison: Input[Artifact] = None,  # noqa: ARG001
    global_time_dataset: Input[Dataset] = None,  # noqa: ARG001
    global_time_evaluations: Input[List[Artifact]] = None,  # noqa: ARG001, UP006
    global_time_comparison: Input[Artifact] = None,  # noqa: ARG001
    latency: Input[Artifact] = None,  # noqa: ARG001
    latency_samples: Input[Artifact] = None,  # noqa: ARG001
) -> dsl.ContainerSpec:
    """Write the study's report.

    Args:
        dataset: the dataset folder; its manifest is read.
        evaluations: metrics.json of every evaluation.
        histories: history.parquet of every training.
        report_html: the report as one page.
        report_markdown: the report as Markdown.
        results: results.json, every number of the study.
        figures: a folder, each figure as PNG and its numbers as CSV.
        finetuned_rankings: rankings.parquet of every fine-tuned ranker; may be left out, as all below.
        finetuned_summaries: ranking.json of each.
        aligned_rankings: rankings.parquet of every aligned ranker.
        aligned_summaries: ranking.json of each.
        tunings: history.parquet of every fine-tuning.
        alignments: alignment.parquet of every alignment.
        generations: generation.json of every generator.
        comparison: comparison.json of compare_models.
        global_time_dataset: the same data split by global-time; its manifest is read.
        global_time_evaluations: metrics.json of every evaluation on it.
        global_time_comparison: comparison.json of these.
        latency: latency.json of measure_latency.
        latency_samples: latency.parquet of the same measurement.
    """
    # The lists are in no flag: the stage reads them from the executor input, as the .path of a list is that of its
    # first artifact. So it does with what may be left out: there is no .path of nothing.
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
            "--figures",
            figures.path,
        ],
    )
