"""The rank_candidates stage as KFP sees it."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from ssm4rec.images import LLM_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def rank_candidates(
    dataset: Input[Dataset],
    candidates: Input[Artifact],
    adapter: Input[Model],
    split: str,
    users: int,
    base: bool,
    seed: int,
    device: str,
    cache_dir: str,
    language_model_version: str,
    rankings: Output[Artifact],
    ranking: Output[Artifact],
    shown: Output[Metrics],  # noqa: ARG001 - numbers without a file
) -> dsl.ContainerSpec:
    """Rank a retriever's candidates by a language model, beside random, popularity and the retriever's own order.

    Args:
        dataset: the dataset folder.
        candidates: the retriever's candidates.parquet of the split.
        adapter: the adapter folder, of finetune_llm or align_llm.
        split: whose targets are ranked, test or validation.
        users: at most so many of those whose target is among the candidates; 0: all; -1: as the recipe says.
        base: rank without the adapter, too.
        seed: of the choice of users and of the shuffled order.
        device: cpu, cuda or auto.
        cache_dir: folder of language models that outlives the container, or empty.
        language_model_version: state of the language model's files when the run started, or empty.
        rankings: rankings.parquet, a row per user, ranker and order.
        ranking: ranking.json.
        shown: its numbers at cutoff 10, for the KFP UI; no task reads them.
    """
    return dsl.ContainerSpec(
        image=LLM_IMAGE,
        command=["python", "-m", "ssm4rec.stages.rank_candidates"],
        args=[
            "--dataset-dir", dataset.path,
            "--candidates", candidates.path,
            "--adapter-dir", adapter.path,
            "--split", split,
            "--users", users,
            "--base", base,
            "--seed", seed,
            "--device", device,
            "--cache-dir", cache_dir,
            "--language-model-version", language_model_version,
            "--rankings", rankings.path,
            "--ranking", ranking.path,
            "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
        ],
    )  # fmt: skip
