"""The train_generator stage as KFP sees it."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from ssm4rec.images import LLM_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def train_generator(
    dataset: Input[Dataset],
    model_name: str,
    profile: str,
    seed: int,
    overrides: str,
    language_model: str,
    device: str,
    cache_dir: str,
    language_model_version: str,
    checkpoint_dir: str,
    generator: Output[Model],
    history: Output[Artifact],
) -> dsl.ContainerSpec:
    """Fine-tune a language model to write the next title, and tune BM25.

    Args:
        dataset: the dataset folder, with titles.
        model_name: gpt4rec or mamrec.
        profile: the size of the training.
        seed: decides every random number.
        overrides: changes to the recipe.
        language_model: instead of the recipe's, or empty.
        device: cpu, cuda or auto.
        cache_dir: folder of language models that outlives the container, or empty.
        language_model_version: state of the language model's files when the run started, or empty.
        checkpoint_dir: folder of checkpoints that outlives the container, or empty.
        generator: the generator folder.
        history: history.json, a row per epoch.
    """
    return dsl.ContainerSpec(
        image=LLM_IMAGE,
        command=["python", "-m", "ssm4rec.stages.train_generator"],
        args=[
            "--dataset-dir", dataset.path,
            "--model", model_name,
            "--profile", profile,
            "--seed", seed,
            "--overrides", overrides,
            "--language-model", language_model,
            "--device", device,
            "--cache-dir", cache_dir,
            "--language-model-version", language_model_version,
            "--checkpoint-dir", checkpoint_dir,
            "--generator-dir", generator.path,
            "--history", history.path,
            "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
        ],
    )  # fmt: skip
