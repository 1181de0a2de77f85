"""The comparative study: prepare the data, train and evaluate recommenders and language models, compare, report.

The four lists ``trainings``, ``global_time_trainings``, ``rankers`` and ``generators`` say what is trained. Which of
the last three a study has is decided when it is compiled, a package for each choice (``comparative_packages.py``): an
empty list cannot leave a part out, as KFP's backend fails what collects a loop over nothing (``loops.py``).
"""

from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from pipelines.comparative_packages import PACKAGES
from pipelines.hardware import (
    A100_80GB,
    AT_ONCE,
    CACHE_FOLDER,
    GPU_TAINTS,
    VOLUME,
    measured_here,
    on_cpu,
    on_gpu,
    reads_object_store,
)
from pipelines.language_models import Place, generate, mine, rank_and_align, retrieve
from pipelines.parts import without
from ssm4rec.components import (
    compare_models,
    evaluate,
    measure_latency,
    prepare_data,
    register_champion,
    report,
    train_recommender,
)
from ssm4rec.contracts import GENERATORS, GLOBAL_TIME, ORDER_CHECKED, PAPER_RECOMMENDERS

DOWNLOADS = f"{CACHE_FOLDER}/downloads" if VOLUME else ""
CHECKPOINTS = f"{CACHE_FOLDER}/checkpoints" if VOLUME else ""
DEFAULT_TRAININGS = [{"model": model, "seed": 0} for model in PAPER_RECOMMENDERS]
DEFAULT_GLOBAL_TIME = [{"model": model, "seed": 0, "overrides": ""} for model in ORDER_CHECKED]
DEFAULT_RANKERS = [{"language_model": "", "retriever": "lrurec", "seed": 0}]
DEFAULT_GENERATORS = [{"model": model, "seed": 0} for model in GENERATORS]


def arrange(
    dataset: str = "ml-100k",
    name: str = "",
    source: str = "",
    items_source: str = "",
    data_version: str = "",
    any_checksum: bool = False,
    cache_dir: str = DOWNLOADS,
    form: str = "raw",
    format: str = "auto",
    delimiter: str = "auto",
    encoding: str = "auto",
    bad_rows: str = "refuse",
    user_column: str = "user_id",
    item_column: str = "item_id",
    time_column: str = "timestamp",
    time_unit: str = "auto",
    rating_column: str = "",
    title_column: str = "title",
    deduplicate: str = "none",
    minimum_rating: str = "none",
    event_order: str = "exact",
    k_core: int = 5,
    split: str = "leave-one-out",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    time_target: str = "successive",
    trainings: list = DEFAULT_TRAININGS,  # type: ignore[type-arg] # kfp would want types of the fields, too
    global_time_trainings: list = DEFAULT_GLOBAL_TIME,  # type: ignore[type-arg]
    rankers: list = DEFAULT_RANKERS,  # type: ignore[type-arg]
    generators: list = DEFAULT_GENERATORS,  # type: ignore[type-arg]
    profile: str = "quick",
    overrides: str = "",
    llm_overrides: str = "",
    generator_overrides: str = "",
    language_model_version: str = "",
    device: str = "auto",
    precision: str = "auto",
    kernels: str = "auto",
    compile: bool = False,
    checkpoint_dir: str = CHECKPOINTS,
    replace_champion: bool = False,
    latency_samples: int = 30,
    latency_users: int = 1500,
    latency_batches: str = "1,64,256",
    gpus: str = "1",
    gpu_pool: dict[str, str] = A100_80GB,
    gpu_toleration: list = GPU_TAINTS,  # type: ignore[type-arg]
) -> None:
    """Arrange the study; a list of None leaves its part out.

    Every input of every stage is passed explicitly: KFP's backend fails at run time on an omitted one.

    Args:
        dataset: name of the data set; ``events`` for your own.
        name: name of your own data set (dataset ``events``), such as shop; empty: that of its file.
        source: address of the events, instead of the official one.
        items_source: address of the item titles, instead of the official one.
        data_version: state of the source files, such as 2026-11-28; another text has them read again.
        any_checksum: accept a source whose checksum differs from the published one.
        cache_dir: folder of downloads that outlives the container, or empty.
        form: of Amazon'23 data: raw or rating_only.
        format: of ``events``: auto, csv, jsonl or parquet.
        delimiter: of ``events`` in CSV files: auto, comma, tab, semicolon, pipe or space.
        encoding: of ``events`` in CSV and JSONL files: auto, or a name such as latin-1 or utf-16.
        bad_rows: refuse a file with rows that cannot be read, or drop them and count them.
        user_column: of ``events``.
        item_column: of ``events``.
        time_column: of ``events``.
        time_unit: of ``events``: auto, s, ms, us, ns or order.
        rating_column: of ``events``, or empty.
        title_column: of the items file of ``events``.
        deduplicate: a user's repeated items: none, first or last stays.
        minimum_rating: interactions rated lower are left out; none keeps all.
        event_order: exact, recbole or random-ties: how events of equal times are ordered.
        k_core: users and items with fewer interactions are left out, again and again.
        split: leave-one-out or global-time.
        validation_fraction: of the events, for global-time.
        test_fraction: of the events, for global-time.
        time_target: of global-time: successive (every later event), last, random or first.
        trainings: recommenders to train, one {"model": name, "seed": number} each.
        global_time_trainings: recommenders to train with global-time, too, one {"model", "seed", "overrides"} each.
        rankers: language models to fine-tune and align, one {"language_model": source or "", "retriever", "seed"} each.
        generators: generative recommenders to train, one {"model": gpt4rec or mamrec, "seed": number} each.
        profile: size of the trainings: smoke, quick, llm-small, paper or best.
        overrides: changes to the recommenders' recipes, such as training.epochs=3.
        llm_overrides: changes to the rankers' recipe, such as finetune.prompts=500.
        generator_overrides: changes to the generators' recipe.
        language_model_version: state of the language models, such as 2026-11-28; another text has them read again.
        device: cpu, cuda or auto.
        precision: of the trainings: fp32, tf32, bf16 or auto.
        kernels: form of the operators: sequential, torch, fused or auto.
        compile: send the models through torch.compile.
        checkpoint_dir: folder of checkpoints that outlives the container, or empty.
        replace_champion: let the best model take the alias champion from one of other data or another split, too.
        latency_samples: timed for each recommender.
        latency_users: of each sample, drawn for it.
        latency_batches: users per request, separated by commas.
        gpus: of one node, for each training; as many processes share its batches.
        gpu_pool: labels of the nodes for GPU stages.
        gpu_toleration: of those nodes' taints, a list of Kubernetes tolerations.
    """

    def prepare(splitting: Any) -> PipelineTask:
        prepared = prepare_data(
            dataset_name=dataset,
            name=name,
            source=source,
            items_source=items_source,
            data_version=data_version,
            any_checksum=any_checksum,
            cache_dir=cache_dir,
            form=form,
            format=format,
            delimiter=delimiter,
            encoding=encoding,
            bad_rows=bad_rows,
            user_column=user_column,
            item_column=item_column,
            time_column=time_column,
            time_unit=time_unit,
            rating_column=rating_column,
            title_column=title_column,
            deduplicate=deduplicate,
            minimum_rating=minimum_rating,
            event_order=event_order,
            k_core=k_core,
            split=splitting,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            time_target=time_target,
        )
        on_cpu(prepared, cpus=2, memory_gib=8, hours=3)
        reads_object_store(prepared)
        return prepared

    def train(data: Any, training: Any, changes: Any) -> tuple[PipelineTask, PipelineTask]:
        trained = train_recommender(
            dataset=data,
            model_name=training.model,
            profile=profile,
            seed=training.seed,
            overrides=changes,
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
        return trained, evaluated

    def compare(data: Any, evaluated: PipelineTask) -> PipelineTask:
        compared = compare_models(
            dataset=data,
            ranks=dsl.Collected(evaluated.outputs["ranks"]),
            candidates=dsl.Collected(evaluated.outputs["candidates"]),
            resamples=10_000,
            seed=0,
        )
        on_cpu(compared, cpus=2, memory_gib=8, hours=2)
        return compared

    prepared = prepare(split)
    data = prepared.outputs["dataset"]
    with dsl.ParallelFor(items=trainings, parallelism=AT_ONCE) as training:
        trained, evaluated = train(data, training, overrides)
    compared = compare(data, evaluated)
    parts: dict[str, Any] = {}

    if global_time_trainings is not None:
        prepared_by_time = prepare(GLOBAL_TIME).set_display_name("prepare, global-time")
        prepared_by_time.after(prepared)  # which downloads, once for both, and says first what is wrong with the source
        data_by_time = prepared_by_time.outputs["dataset"]
        with dsl.ParallelFor(items=global_time_trainings, parallelism=AT_ONCE) as again:
            trained_by_time, evaluated_by_time = train(data_by_time, again, again.overrides)
            trained_by_time.set_display_name("train, global-time")
            evaluated_by_time.set_display_name("evaluate, global-time")
        compared_by_time = compare(data_by_time, evaluated_by_time).set_display_name("compare, global-time")
        parts["global_time_dataset"] = data_by_time
        parts["global_time_evaluations"] = dsl.Collected(evaluated_by_time.outputs["metrics"])
        parts["global_time_comparison"] = compared_by_time.outputs["comparison"]

    registered = register_champion(
        dataset=data, models=dsl.Collected(trained.outputs["model"]), replace_champion=replace_champion
    )
    on_cpu(registered, cpus=1, memory_gib=4, hours=1)
    measured_here(registered)  # the registry may have changed since

    place = Place(device, cache_dir, language_model_version, checkpoint_dir, gpu_pool, gpu_toleration)
    if rankers is not None:
        with dsl.ParallelFor(items=rankers, parallelism=AT_ONCE) as ranker:
            retrieved = retrieve(data, ranker.retriever, ranker.seed, profile, place)
            ranked = rank_and_align(data, retrieved, mine(data, ranker.seed), ranker, profile, llm_overrides, place)
        parts |= ranked.collected()
    if generators is not None:
        with dsl.ParallelFor(items=generators, parallelism=AT_ONCE) as generator:
            generation = generate(data, generator, profile, generator_overrides, place)
        parts["generations"] = dsl.Collected(generation)

    timed = measure_latency(
        dataset=data,
        models=dsl.Collected(trained.outputs["model"]),
        longest_only=False,
        device=device,
        precision=precision,
        kernels=kernels,
        compile=compile,
        threads=0,
        samples=latency_samples,
        users=latency_users,
        batches=latency_batches,
        single_users=0,
        with_replacement=True,
        warm_up=3,
        lengths="",
        seed=0,
    )
    on_gpu(timed, "1", gpu_pool, gpu_toleration, hours=6)
    measured_here(timed)

    reported = report(
        dataset=data,
        evaluations=dsl.Collected(evaluated.outputs["metrics"]),
        histories=dsl.Collected(trained.outputs["history"]),
        comparison=compared.outputs["comparison"],
        latency=timed.outputs["summary"],
        latency_samples=timed.outputs["latency"],
        **parts,
    )
    on_cpu(reported, cpus=1, memory_gib=2, hours=1)


def comparative_study(package: str) -> Any:
    """Return the pipeline of a package of ``PACKAGES``."""
    contents, left_out = PACKAGES[package]
    return dsl.pipeline(
        without(arrange, left_out),
        name=package.replace("_", "-"),
        description=f"Compare {contents}, with the paper's numbers next to them. Set `dataset` (ml-100k, ml-1m, "
        "amazon-2023-...; or events, with `source`), `trainings` and `profile`. No list may be empty: to leave a part "
        "out, take the package without it.",
    )
