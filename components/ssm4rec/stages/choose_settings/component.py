"""The choose_settings stage as KFP sees it."""

from typing import List  # noqa: UP035 (kfp reads lists of artifacts from typing.List)

from kfp import dsl
from kfp.dsl import Artifact, Input, OutputPath

from ssm4rec.images import CPU_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def choose_settings(
    histories: Input[List[Artifact]],  # noqa: ARG001, UP006
    controls: str,
    seeds: str,
    overrides: str,
    trainings: OutputPath(list),  # type: ignore[valid-type] # KFP's way to write an output parameter
) -> dsl.ContainerSpec:
    """Choose the best scale of every optimizer, and list the trainings of the comparison.

    Args:
        histories: history.parquet of every training of the sweep.
        controls: batch controls, separated by commas.
        seeds: seeds, separated by commas.
        overrides: changes to the recipe that all trainings share, or empty.
        trainings: what to train, one {"model", "seed", "overrides"} each.
    """
    # histories is in no flag: the stage reads the list from the executor input.
    return dsl.ContainerSpec(
        image=CPU_IMAGE,
        command=["python", "-m", "ssm4rec.stages.choose_settings"],
        args=[
            "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            "--controls", controls,
            "--seeds", seeds,
            "--overrides", overrides,
            "--trainings", trainings,
        ],
    )  # fmt: skip
