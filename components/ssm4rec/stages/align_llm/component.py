"""The align_llm stage as KFP sees it."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from ssm4rec.images import LLM_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def align_llm(
    dataset: Input[Dataset],
    pairs: Input[Artifact],
    adapter: Input[Model],
    profile: str,
    seed: int,
    overrides: str,
    device: str,
    cache_dir: str,
    language_model_version: str,
    checkpoint_dir: str,
    aligned: Output[Model],
    history: Output[Artifact],
) -> dsl.ContainerSpec:
    """Align a fine-tuned ranker to preference pairs by ORPO.

    Args:
        dataset: the dataset folder.
        pairs: pairs.parquet, from mine_preferences.
        adapter: the adapter folder, from finetune_llm.
        profile: the size of the training.
        seed: decides every random number.
        overrides: changes to the recipe.
        device: cpu, cuda or auto.
        cache_dir: folder of language models that outlives the container, or empty.
        language_model_version: state of the language model's files when the run started, or empty.
        checkpoint_dir: folder of checkpoints that outlives the container, or empty.
        aligned: the adapter folder; its last numbers show in the KFP UI, too.
        history: alignment.parquet, a row per logged step.
    """
    return dsl.ContainerSpec(
        image=LLM_IMAGE,
        command=["python", "-m", "ssm4rec.stages.align_llm"],
        args=[
            "--dataset-dir", dataset.path,
            "--pairs", pairs.path,
            "--adapter-dir", adapter.path,
            "--profile", profile,
            "--seed", seed,
            "--overrides", overrides,
            "--device", device,
            "--cache-dir", cache_dir,
            "--language-model-version", language_model_version,
            "--checkpoint-dir", checkpoint_dir,
            "--aligned-dir", aligned.path,
            "--history", history.path,
            "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
        ],
    )  # fmt: skip
