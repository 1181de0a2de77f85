"""The optimizer study: tune every optimizer alike, then compare each with every way to choose batches, and report.

It includes the paper's Figure 3: 2Mamba4Rec on ML-100K, USGM with adaptive batches compared with Adam.
"""

from kfp import dsl

from pipelines.comparative_study import CHECKPOINTS, DOWNLOADS
from pipelines.hardware import A100_80GB, AT_ONCE, GPU_TAINTS, on_cpu, on_gpu
from pipelines.published_data import prepare_published
from ssm4rec.components import choose_settings, report_optimizers, train_recommender
from ssm4rec.training.sweep import COMPARED, SHORT, sweep

DEFAULT_SWEEP = sweep(["2mamba4rec"], COMPARED, SHORT)


@dsl.pipeline(  # type: ignore[untyped-decorator] # kfp publishes no types
    name="optimizer-study",
    description="Compare optimizers and ways to choose batches on one data set, each tuned with as many trials.",
)
def optimizer_study(
    dataset: str = "ml-100k",
    name: str = "",
    source: str = "",
    items_source: str = "",
    data_version: str = "",
    any_checksum: bool = False,
    cache_dir: str = DOWNLOADS,
    event_order: str = "exact",
    k_core: int = 5,
    trainings: list = DEFAULT_SWEEP,  # type: ignore[type-arg] # kfp would want types of the fields, too
    controls: str = "fixed,paper,inverse,noise-scale",
    seeds: str = "0,1,2",
    overrides: str = SHORT,
    profile: str = "quick",
    device: str = "auto",
    precision: str = "auto",
    kernels: str = "auto",
    compile: bool = False,
    checkpoint_dir: str = CHECKPOINTS,
    gpus: str = "1",
    gpu_pool: dict[str, str] = A100_80GB,
    gpu_toleration: list = GPU_TAINTS,  # type: ignore[type-arg]
) -> None:
    """Arrange the study.

    Args:
        dataset: name of the data set.
        name: name of your own data set (dataset ``events``), such as shop; empty: that of its file.
        source: address of the events, instead of the official one.
        items_source: address of the item titles, instead of the official one.
        data_version: state of the source files, such as 2026-11-28; another text has them read again.
        any_checksum: accept a source whose checksum differs from the published one.
        cache_dir: folder of downloads that outlives the container, or empty.
        event_order: exact, recbole or random-ties: how events of equal times are ordered.
        k_core: users and items with fewer interactions are left out, again and again.
        trainings: the sweep, one {"model", "seed", "overrides"} each.
        controls: batch controls to compare, separated by commas.
        seeds: of the comparison, separated by commas.
        overrides: changes to the recipe that all trainings of the comparison share; the sweep's stand in trainings.
        profile: size of the trainings: smoke, quick, llm-small, paper or best.
        device: cpu, cuda or auto.
        precision: of the trainings: fp32, tf32, bf16 or auto.
        kernels: form of the operators: sequential, torch, fused or auto.
        compile: send the models through torch.compile.
        checkpoint_dir: folder of checkpoints that outlives the container, or empty.
        gpus: of one node, for each training; as many processes share its batches.
        gpu_pool: labels of the nodes for GPU stages.
        gpu_toleration: of those nodes' taints, a list of Kubernetes tolerations.
    """
    data = prepare_published(
        dataset, name, source, items_source, data_version, any_checksum, cache_dir, event_order, k_core
    )

    def train(training: dsl.ParallelFor) -> dsl.PipelineTask:
        trained = train_recommender(
            dataset=data,
            model_name=training.model,
            profile=profile,
            seed=training.seed,
            overrides=training.overrides,
            device=device,
            precision=precision,
            kernels=kernels,
            compile=compile,
            processes=gpus,
            checkpoint_dir=checkpoint_dir,
        )
        on_gpu(trained, gpus, gpu_pool, gpu_toleration, hours=12)
        return trained

    with dsl.ParallelFor(items=trainings, parallelism=AT_ONCE) as training:
        trial = train(training)
    chosen = choose_settings(
        histories=dsl.Collected(trial.outputs["history"]), controls=controls, seeds=seeds, overrides=overrides
    )
    on_cpu(chosen, cpus=1, memory_gib=2, hours=1)
    with dsl.ParallelFor(items=chosen.outputs["trainings"], parallelism=AT_ONCE) as training:
        compared = train(training)
    reported = report_optimizers(
        sweep=dsl.Collected(trial.outputs["history"]), comparison=dsl.Collected(compared.outputs["history"])
    )
    on_cpu(reported, cpus=1, memory_gib=2, hours=1)
