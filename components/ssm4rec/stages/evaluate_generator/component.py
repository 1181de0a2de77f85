"""The evaluate_generator stage as KFP sees it."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from ssm4rec.images import LLM_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def evaluate_generator(
    dataset: Input[Dataset],
    generator: Input[Model],
    split: str,
    device: str,
    lists: Output[Artifact],
    metrics: Output[Artifact],
    shown: Output[Metrics],  # noqa: ARG001 - numbers without a file
) -> dsl.ContainerSpec:
    """Let a generator write queries for every user of a split, and find items for them.

    Args:
        dataset: the dataset folder, with titles.
        generator: the generator folder.
        split: whose targets are looked for, test or validation.
        device: cpu, cuda or auto.
        lists: lists.parquet, items and queries, a row per user.
        metrics: generation.json.
        shown: its numbers at cutoff 10, for the KFP UI; no task reads them.
    """
    return dsl.ContainerSpec(
        image=LLM_IMAGE,
        command=["python", "-m", "ssm4rec.stages.evaluate_generator"],
        args=[
            "--dataset-dir", dataset.path,
            "--generator-dir", generator.path,
            "--split", split,
            "--device", device,
            "--lists", lists.path,
            "--metrics", metrics.path,
            "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
        ],
    )  # fmt: skip
