"""The measure_latency stage as KFP sees it."""

from typing import List  # noqa: UP035 (kfp reads lists of artifacts from typing.List)

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from ssm4rec.images import TRAIN_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def measure_latency(
    dataset: Input[Dataset],
    models: Input[List[Model]],  # noqa: ARG001, UP006
    longest_only: bool,
    device: str,
    precision: str,
    kernels: str,
    compile: bool,
    threads: int,
    samples: int,
    users: int,
    batches: str,
    single_users: int,
    with_replacement: bool,
    warm_up: int,
    lengths: str,
    seed: int,
    latency: Output[Artifact],
    summary: Output[Artifact],
    shown: Output[Metrics],  # noqa: ARG001 - numbers without a file
) -> dsl.ContainerSpec:
    """Measure how long models take from a user's history to suggestions.

    Args:
        dataset: the dataset folder.
        models: the model folders; they are timed in turn, in random order.
        longest_only: of models that differ in model.maximum_length alone, measure the one that reads most.
        device: cpu, cuda or auto.
        precision: fp32, tf32, bf16 or auto.
        kernels: form of the operators: sequential, torch, fused or auto.
        compile: send the forward through torch.compile.
        threads: of a CPU; 0: as many as torch takes.
        samples: drawn from the users.
        users: of a sample.
        batches: users per request, separated by commas; empty, with lengths: the sweep only.
        single_users: of a sample at batch 1; 0: as many as users.
        with_replacement: a sample may hold a user twice.
        warm_up: requests without a clock before every timed sample.
        lengths: of histories at which one user is timed, separated by commas, or empty.
        seed: draws users, generated histories and the models' order.
        latency: latency.parquet, a row per timed sample.
        summary: latency.json, intervals and crossings.
        shown: means, for the KFP UI; no task reads them.
    """
    # models is in no flag: the stage reads the list from the executor input.
    return dsl.ContainerSpec(
        image=TRAIN_IMAGE,
        command=["python", "-m", "ssm4rec.stages.measure_latency"],
        args=[
            "--dataset-dir", dataset.path,
            "--longest-only", longest_only,
            "--device", device,
            "--precision", precision,
            "--kernels", kernels,
            "--compile", compile,
            "--threads", threads,
            "--samples", samples,
            "--users", users,
            "--batches", batches,
            "--single-users", single_users,
            "--with-replacement", with_replacement,
            "--warm-up", warm_up,
            "--lengths", lengths,
            "--seed", seed,
            "--latency", latency.path,
            "--summary", summary.path,
            "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
        ],
    )  # fmt: skip
