"""The long-history study: train models with windows of several lengths, measure what length costs, and report.

The paper's open question: how state-space models and transformers compare on histories much longer than its data's.
"""

from kfp import dsl

from pipelines.comparative_study import CHECKPOINTS, DOWNLOADS
from pipelines.hardware import A100_80GB, AT_ONCE, GPU_TAINTS, measured_here, on_cpu, on_gpu
from pipelines.published_data import prepare_published
from ssm4rec.components import evaluate, measure_latency, report_long_histories, train_recommender
from ssm4rec.training.sweep import SHORT
from ssm4rec.training.windows import COMPARED, LATENCY_LENGTHS, WINDOWS, window_trainings

DEFAULT_TRAININGS = window_trainings(COMPARED, WINDOWS, [0], SHORT)
DEFAULT_LENGTHS = ",".join(map(str, LATENCY_LENGTHS))


@dsl.pipeline(  # type: ignore[untyped-decorator] # kfp publishes no types
    name="long-history-study",
    description="Train recommenders with windows of several lengths; measure what long histories are worth and cost.",
)
def long_history_study(
    dataset: str = "ml-100k",
    name: str = "",
    source: str = "",
    items_source: str = "",
    data_version: str = "",
    any_checksum: bool = False,
    cache_dir: str = DOWNLOADS,
    event_order: str = "exact",
    k_core: int = 5,
    trainings: list = DEFAULT_TRAININGS,  # type: ignore[type-arg] # kfp would want types of the fields, too
    profile: str = "quick",
    device: str = "auto",
    precision: str = "auto",
    kernels: str = "auto",
    compile: bool = False,
    checkpoint_dir: str = CHECKPOINTS,
    latency_lengths: str = DEFAULT_LENGTHS,
    latency_samples: int = 10,
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
        trainings: every model at every window, one {"model", "seed", "overrides"} each.
        profile: size of the trainings: smoke, quick, llm-small, paper or best.
        device: cpu, cuda or auto.
        precision: of trainings and timings: fp32, tf32, bf16 or auto.
        kernels: form of the operators: sequential, torch, fused or auto.
        compile: send the models through torch.compile.
        checkpoint_dir: folder of checkpoints that outlives the container, or empty.
        latency_lengths: of the histories at which one user is timed, separated by commas.
        latency_samples: timed of each model at each length.
        gpus: of one node, for each training; as many processes share its batches.
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
            overrides=training.overrides,
            device=device,
            precision=precision,
            kernels=kernels,
            compile=compile,
            processes=gpus,
            checkpoint_dir=checkpoint_dir,
        )
        on_gpu(trained, gpus, gpu_pool, gpu_toleration, hours=12)
        evaluated = evaluate(dataset=data, model=trained.outputs["model"], split="test", device="cpu")
        on_cpu(evaluated, cpus=4, memory_gib=8, hours=3)

    timed = measure_latency(
        dataset=data,
        models=dsl.Collected(trained.outputs["model"]),
        longest_only=True,
        device=device,
        precision=precision,
        kernels=kernels,
        compile=compile,
        threads=0,
        samples=latency_samples,
        users=1,
        batches="",
        single_users=0,
        with_replacement=True,
        warm_up=1,
        lengths=latency_lengths,
        seed=0,
    )
    on_gpu(timed, "1", gpu_pool, gpu_toleration, hours=6)
    measured_here(timed)

    reported = report_long_histories(
        dataset=data,
        evaluations=dsl.Collected(evaluated.outputs["metrics"]),
        ranks=dsl.Collected(evaluated.outputs["ranks"]),
        latency=timed.outputs["summary"],
        resamples=10_000,
    )
    on_cpu(reported, cpus=2, memory_gib=8, hours=1)
