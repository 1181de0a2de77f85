"""The reproduction study: train the paper's recommenders on MovieLens-1M in RecBole's order of events, and report.

Published figures compare with nothing else, so the data set and its preparation are not parameters.
"""

from kfp import dsl

from pipelines.comparative_study import CHECKPOINTS, DOWNLOADS
from pipelines.hardware import A100_80GB, AT_ONCE, GPU_TAINTS, on_cpu, on_gpu
from pipelines.published_data import prepare_published
from ssm4rec.components import evaluate, report_reproduction, train_recommender
from ssm4rec.data.event_order import RECBOLE
from ssm4rec.training.reproduction import DATASET, PAPER_EPOCHS, RECIPES, REPRODUCED, reproduction_trainings

DEFAULT_TRAININGS = reproduction_trainings(REPRODUCED, RECIPES, [0], PAPER_EPOCHS, "")


@dsl.pipeline(  # type: ignore[untyped-decorator] # kfp publishes no types
    name="reproduction-study",
    description="Set recommenders on MovieLens-1M, in RecBole's order of events, next to published figures.",
)
def reproduction_study(
    source: str = "",
    data_version: str = "",
    any_checksum: bool = False,
    cache_dir: str = DOWNLOADS,
    trainings: list = DEFAULT_TRAININGS,  # type: ignore[type-arg] # kfp would want types of the fields, too
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
        source: address of ml-1m.zip, instead of the official one.
        data_version: state of the source files, such as 2026-11-28; another text has them read again.
        any_checksum: accept a source whose checksum differs from the published one.
        cache_dir: folder of downloads that outlives the container, or empty.
        trainings: every model by every recipe, one {"model", "seed", "profile", "overrides"} each.
        device: cpu, cuda or auto.
        precision: of the trainings: fp32, tf32, bf16 or auto.
        kernels: form of the operators: sequential, torch, fused or auto.
        compile: send the models through torch.compile.
        checkpoint_dir: folder of checkpoints that outlives the container, or empty.
        gpus: of one node, for each training; as many processes share its batches.
        gpu_pool: labels of the nodes for GPU stages.
        gpu_toleration: of those nodes' taints, a list of Kubernetes tolerations.
    """
    data = prepare_published(DATASET, "", source, "", data_version, any_checksum, cache_dir, RECBOLE, 5)

    with dsl.ParallelFor(items=trainings, parallelism=AT_ONCE) as training:
        trained = train_recommender(
            dataset=data,
            model_name=training.model,
            profile=training.profile,
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

    reported = report_reproduction(
        dataset=data,
        evaluations=dsl.Collected(evaluated.outputs["metrics"]),
        ranks=dsl.Collected(evaluated.outputs["ranks"]),
        resamples=10_000,
    )
    on_cpu(reported, cpus=2, memory_gib=8, hours=1)
