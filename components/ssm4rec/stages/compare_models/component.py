"""The compare_models stage as KFP sees it."""

from typing import List  # noqa: UP035 (kfp reads lists of artifacts from typing.List)

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from ssm4rec.images import CPU_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def compare_models(
    dataset: Input[Dataset],
    ranks: Input[List[Artifact]],  # noqa: ARG001, UP006
    candidates: Input[List[Artifact]],  # noqa: ARG001, UP006
    resamples: int,
    seed: int,
    comparison: Output[Artifact],
) -> dsl.ContainerSpec:
    """Say which differences between models are more than chance.

    Args:
        dataset: the dataset folder.
        ranks: ranks.parquet of every evaluation.
        candidates: candidates.parquet of every evaluation.
        resamples: bootstrap draws, and permutations, of the users; 10,000 is usual.
        seed: of the resampling.
        comparison: comparison.json: intervals, tests, slices, coverage.
    """
    # ranks and candidates are in no flag: the stage reads them from the executor input, as the .path of a list is
    # that of its first artifact.
    return dsl.ContainerSpec(
        image=CPU_IMAGE,
        command=["python", "-m", "ssm4rec.stages.compare_models"],
        args=[
            "--dataset-dir", dataset.path,
            "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            "--resamples", resamples,
            "--seed", seed,
            "--comparison", comparison.path,
        ],
    )  # fmt: skip
