"""The alignment study: what ORPO changes in rankers of several sizes (the paper's open question).

One retriever and one set of preference pairs serve all language models. Each is fine-tuned, ranks, is aligned and ranks
again, the same users every time.
"""

from kfp import dsl

from pipelines.comparative_study import CHECKPOINTS, DOWNLOADS
from pipelines.hardware import A100_80GB, AT_ONCE, GPU_TAINTS, on_cpu, on_gpu
from pipelines.language_models import Place, mine, rank_and_align, retrieve
from pipelines.published_data import prepare_published
from ssm4rec.components import evaluate, report, train_recommender

SIZES = (
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "HuggingFaceTB/SmolLM2-360M-Instruct",
    "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "meta-llama/Llama-2-7b-hf",
)
DEFAULT_RETRIEVERS = [{"model": "lrurec", "seed": 0}]
DEFAULT_RANKERS = [{"language_model": source, "seed": 0} for source in SIZES]


@dsl.pipeline(  # type: ignore[untyped-decorator] # kfp publishes no types
    name="orpo-study",
    description="Fine-tune and align language models of several sizes on one retriever's candidates; compare.",
)
def orpo_study(
    dataset: str = "ml-100k",
    name: str = "",
    source: str = "",
    items_source: str = "",
    data_version: str = "",
    any_checksum: bool = False,
    cache_dir: str = DOWNLOADS,
    event_order: str = "exact",
    k_core: int = 5,
    trainings: list = DEFAULT_RETRIEVERS,  # type: ignore[type-arg] # kfp would want types of the fields, too
    retriever: str = "lrurec",
    rankers: list = DEFAULT_RANKERS,  # type: ignore[type-arg]
    profile: str = "paper",
    llm_overrides: str = "",
    language_model_version: str = "",
    device: str = "auto",
    checkpoint_dir: str = CHECKPOINTS,
    gpu_pool: dict[str, str] = A100_80GB,
    gpu_toleration: list = GPU_TAINTS,  # type: ignore[type-arg]
) -> None:
    """Arrange the study.

    Args:
        dataset: name of the data set; its items need titles.
        name: name of your own data set (dataset ``events``), such as shop; empty: that of its file.
        source: address of the events, instead of the official one.
        items_source: address of the item titles, instead of the official one.
        data_version: state of the source files, such as 2026-11-28; another text has them read again.
        any_checksum: accept a source whose checksum differs from the published one.
        cache_dir: folder of downloads and language models that outlives the container, or empty.
        event_order: exact, recbole or random-ties: how events of equal times are ordered.
        k_core: users and items with fewer interactions are left out, again and again.
        trainings: recommenders to report next to the rankers, one {"model": name, "seed": number} each.
        retriever: recommender whose candidates are ranked.
        rankers: language models, one {"language_model": source, "seed": number} each.
        profile: size of the trainings: smoke, quick, llm-small, paper or best.
        llm_overrides: changes to the rankers' recipe, such as finetune.prompts=500.
        language_model_version: state of the language models, such as 2026-11-28; another text has them read again.
        device: cpu, cuda or auto.
        checkpoint_dir: folder of checkpoints that outlives the container, or empty.
        gpu_pool: labels of the nodes for GPU stages.
        gpu_toleration: of those nodes' taints, a list of Kubernetes tolerations.
    """
    data = prepare_published(
        dataset, name, source, items_source, data_version, any_checksum, cache_dir, event_order, k_core
    )

    with dsl.ParallelFor(items=trainings, parallelism=AT_ONCE) as training:
        trained = train_recommender(
            dataset=data,
            model_name=training.model,
            profile=profile,
            seed=training.seed,
            overrides="",
            device=device,
            precision="auto",
            kernels="auto",
            compile=False,
            processes="1",
            checkpoint_dir=checkpoint_dir,
        )
        on_gpu(trained, "1", gpu_pool, gpu_toleration, hours=12)
        evaluated = evaluate(dataset=data, model=trained.outputs["model"], split="test", device="cpu")
        on_cpu(evaluated, cpus=4, memory_gib=8, hours=3)

    place = Place(device, cache_dir, language_model_version, checkpoint_dir, gpu_pool, gpu_toleration)
    retrieved = retrieve(data, retriever, 0, profile, place)
    pairs = mine(data, 0)
    with dsl.ParallelFor(items=rankers, parallelism=AT_ONCE) as ranker:
        ranked = rank_and_align(data, retrieved, pairs, ranker, profile, llm_overrides, place)

    reported = report(
        dataset=data,
        evaluations=dsl.Collected(evaluated.outputs["metrics"]),
        histories=dsl.Collected(trained.outputs["history"]),
        **ranked.collected(),
    )
    on_cpu(reported, cpus=1, memory_gib=2, hours=1)
