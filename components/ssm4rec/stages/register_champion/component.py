"""The register_champion stage as KFP sees it."""

from typing import List  # noqa: UP035 (kfp reads lists of artifacts from typing.List)

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from ssm4rec.images import CPU_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def register_champion(
    dataset: Input[Dataset],
    models: Input[List[Model]],  # noqa: ARG001, UP006
    replace_champion: bool,
    champion: Output[Model],
) -> dsl.ContainerSpec:
    """Register the best model by validation in MLflow.

    Args:
        dataset: the dataset folder.
        models: the model folders, all trained on it.
        replace_champion: take the alias from a champion of other data or another split, too.
        champion: the best one as an MLflow model folder.
    """
    # models is in no flag: the stage reads the list from the executor input.
    return dsl.ContainerSpec(
        image=CPU_IMAGE,
        command=["python", "-m", "ssm4rec.stages.register_champion"],
        args=[
            "--dataset-dir", dataset.path,
            "--replace-champion", replace_champion,
            "--champion-dir", champion.path,
            "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
        ],
    )  # fmt: skip
