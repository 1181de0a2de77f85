"""The mine_preferences stage as KFP sees it."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from ssm4rec.images import CPU_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def mine_preferences(
    dataset: Input[Dataset],
    seed: int,
    epochs: int,
    components: int,
    pairs: Output[Artifact],
    counts: Output[Metrics],
) -> dsl.ContainerSpec:
    """Make preference pairs of the training part of a data set.

    Args:
        dataset: the dataset folder.
        seed: decides LightFM's random numbers.
        epochs: LightFM's passes over the training interactions.
        components: width of LightFM's embeddings.
        pairs: pairs.parquet, a row per pair.
        counts: counts.json; its numbers show in the KFP UI, too.
    """
    return dsl.ContainerSpec(
        image=CPU_IMAGE,
        command=["python", "-m", "ssm4rec.stages.mine_preferences"],
        args=[
            "--dataset-dir", dataset.path,
            "--seed", seed,
            "--epochs", epochs,
            "--components", components,
            "--pairs", pairs.path,
            "--counts", counts.path,
            "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
        ],
    )  # fmt: skip
