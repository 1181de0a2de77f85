"""The evaluate stage as KFP sees it."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from ssm4rec.images import CPU_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def evaluate(
    dataset: Input[Dataset],
    model: Input[Model],
    split: str,
    device: str,
    ranks: Output[Artifact],
    candidates: Output[Artifact],
    metrics: Output[Artifact],
    shown: Output[Metrics],  # noqa: ARG001 - numbers without a file
) -> dsl.ContainerSpec:
    """Rank the whole catalog for every user of a split.

    Args:
        dataset: the dataset folder.
        model: the model folder.
        split: whose targets are ranked, test or validation.
        device: cpu, cuda or auto.
        ranks: ranks.parquet, a row per user.
        candidates: candidates.parquet, the best items per user.
        metrics: metrics.json.
        shown: its numbers at cutoff 10, for the KFP UI; no task reads them.
    """
    return dsl.ContainerSpec(
        image=CPU_IMAGE,
        command=["python", "-m", "ssm4rec.stages.evaluate"],
        args=[
            "--dataset-dir", dataset.path,
            "--model-dir", model.path,
            "--split", split,
            "--device", device,
            "--ranks", ranks.path,
            "--candidates", candidates.path,
            "--metrics", metrics.path,
            "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
        ],
    )  # fmt: skip
