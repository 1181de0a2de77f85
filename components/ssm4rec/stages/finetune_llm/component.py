"""The finetune_llm stage as KFP sees it."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from ssm4rec.images import LLM_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def finetune_llm(
    dataset: Input[Dataset],
    candidates: Input[Artifact],
    language_model: str,
    profile: str,
    seed: int,
    overrides: str,
    device: str,
    cache_dir: str,
    language_model_version: str,
    checkpoint_dir: str,
    adapter: Output[Model],
    history: Output[Artifact],
) -> dsl.ContainerSpec:
    """Fine-tune a language model to rank a retriever's candidates (LlamaRec).

    Args:
        dataset: the dataset folder.
        candidates: the retriever's candidates.parquet of the validation split.
        language_model: its source, or empty for the profile's.
        profile: size of the training: smoke, quick, llm-small, paper or best.
        seed: decides every random number.
        overrides: changes to the recipe, such as finetune.prompts=500.
        device: cpu, cuda or auto.
        cache_dir: folder of language models that outlives the container, or empty.
        language_model_version: state of the language model's files when the run started, or empty.
        checkpoint_dir: folder of checkpoints that outlives the container, or empty.
        adapter: the adapter folder.
        history: history.parquet, a row per number.
    """
    return dsl.ContainerSpec(
        image=LLM_IMAGE,
        command=["python", "-m", "ssm4rec.stages.finetune_llm"],
        args=[
            "--dataset-dir", dataset.path,
            "--candidates", candidates.path,
            "--language-model", language_model,
            "--profile", profile,
            "--seed", seed,
            "--overrides", overrides,
            "--device", device,
            "--cache-dir", cache_dir,
            "--language-model-version", language_model_version,
            "--checkpoint-dir", checkpoint_dir,
            "--adapter-dir", adapter.path,
            "--history", history.path,
            "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
        ],
    )  # fmt: skip
