"""The train_recommender stage as KFP sees it."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from ssm4rec.images import TRAIN_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def train_recommender(
    dataset: Input[Dataset],
    model_name: str,
    profile: str,
    seed: int,
    overrides: str,
    device: str,
    precision: str,
    kernels: str,
    compile: bool,
    processes: str,
    checkpoint_dir: str,
    model: Output[Model],
    history: Output[Artifact],
) -> dsl.ContainerSpec:
    """Train one recommender.

    Args:
        dataset: the dataset folder.
        model_name: the recommender.
        profile: the size of the training.
        seed: decides every random number.
        overrides: changes to the recipe.
        device: cpu, cuda or auto.
        precision: fp32, tf32, bf16 or auto.
        kernels: form of the operators: sequential, torch, fused or auto.
        compile: send the model through torch.compile.
        processes: that share each batch, one a GPU.
        checkpoint_dir: folder of checkpoints that outlives the container, or empty.
        model: the model folder.
        history: history.parquet, a row per epoch.
    """
    return dsl.ContainerSpec(
        image=TRAIN_IMAGE,
        command=["python", "-m", "ssm4rec.stages.train_recommender"],
        args=[
            "--dataset-dir", dataset.path,
            "--model", model_name,
            "--profile", profile,
            "--seed", seed,
            "--overrides", overrides,
            "--device", device,
            "--precision", precision,
            "--kernels", kernels,
            "--compile", compile,
            "--processes", processes,
            "--checkpoint-dir", checkpoint_dir,
            "--model-dir", model.path,
            "--history", history.path,
        ],
    )  # fmt: skip
