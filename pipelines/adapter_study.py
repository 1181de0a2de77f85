"""The adapter study: the paper's optimizer on a language model's adapter against AdamW, tuned with equal trials.

The paper leaves open whether its method fits models other than its own (open question 2); the optimizer study asks that
of SASRec, this one of LlamaRec's LoRA matrices.
"""

from kfp import dsl

from pipelines.comparative_study import CHECKPOINTS, DOWNLOADS
from pipelines.hardware import A100_80GB, AT_ONCE, GPU_TAINTS, on_cpu
from pipelines.language_models import Place, retrieve
from pipelines.published_data import prepare_published
from ssm4rec.components import finetune_llm, report_adapters
from ssm4rec.llm.adapter_sweep import SCALES, adapter_sweep

DEFAULT_ADAPTERS = adapter_sweep("", list(SCALES), [0], "")


@dsl.pipeline(  # type: ignore[untyped-decorator] # kfp publishes no types
    name="adapter-study",
    description="Fine-tune a language model's adapter with USGM and with AdamW, each over as many scales; compare.",
)
def adapter_study(
    dataset: str = "ml-100k",
    name: str = "",
    source: str = "",
    items_source: str = "",
    data_version: str = "",
    any_checksum: bool = False,
    cache_dir: str = DOWNLOADS,
    event_order: str = "exact",
    k_core: int = 5,
    retriever: str = "lrurec",
    adapters: list = DEFAULT_ADAPTERS,  # type: ignore[type-arg] # kfp would want types of the fields, too
    profile: str = "quick",
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
        retriever: recommender whose candidates are ranked.
        adapters: fine-tunings, one {"language_model": source or "", "seed", "overrides"} each.
        profile: size of the trainings: smoke, quick, llm-small, paper or best.
        language_model_version: state of the language models, such as 2026-11-28; another text has them read again.
        device: cpu, cuda or auto.
        checkpoint_dir: folder of checkpoints that outlives the container, or empty.
        gpu_pool: labels of the nodes for GPU stages.
        gpu_toleration: of those nodes' taints, a list of Kubernetes tolerations.
    """
    data = prepare_published(
        dataset, name, source, items_source, data_version, any_checksum, cache_dir, event_order, k_core
    )
    place = Place(device, cache_dir, language_model_version, checkpoint_dir, gpu_pool, gpu_toleration)
    retrieved = retrieve(data, retriever, 0, profile, place)
    with dsl.ParallelFor(items=adapters, parallelism=AT_ONCE) as adapter:
        tuned = finetune_llm(
            dataset=data,
            candidates=retrieved.validation,
            language_model=adapter.language_model,
            profile=profile,
            seed=adapter.seed,
            overrides=adapter.overrides,
            device=device,
            cache_dir=cache_dir,
            language_model_version=language_model_version,
            checkpoint_dir=checkpoint_dir,
        )
        place.on_one_gpu(tuned, hours=24)
    reported = report_adapters(
        adapters=dsl.Collected(tuned.outputs["adapter"]), histories=dsl.Collected(tuned.outputs["history"])
    )
    on_cpu(reported, cpus=1, memory_gib=2, hours=1)
