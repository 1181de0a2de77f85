"""The comparative study: prepare the data, train and evaluate recommenders and language models, compare, report.

Four lists say what is trained. Which of the last three a study has is decided when it is compiled, a package for each
choice (``packages.py``): an empty list cannot leave a part out (``limits.py``).
"""

from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from pipelines.hardware import AT_ONCE
from pipelines.packages import PACKAGES
from pipelines.parameters import Package, Parameters, study_pipeline, task
from pipelines.tasks import generate, prepare, rank, rank_and_align, report_on, retrieve, train
from ssm4rec.artifacts.names import GLOBAL_TIME, ORDER_CHECKED
from ssm4rec.stages.components import compare_models, measure_latency, mine_preferences, register_champion
from ssm4rec.studies.comparative.plan import Settings

LISTS = {
    "trainings": 'recommenders to train, one {"model": name, "seed": number} each',
    "global_time_trainings": 'recommenders to train with global-time, too, one {"model", "seed", "overrides"} each',
    "rankers": (
        'language models to fine-tune and align, one {"language_model": source or "", "retriever", "seed"} each'
    ),
    "generators": 'generative recommenders to train, one {"model": gpt4rec or mamrec, "seed": number} each',
}
DEFAULTS = {
    "global_time_trainings": [{"model": model, "seed": 0, "overrides": ""} for model in ORDER_CHECKED],
    "latency_samples": 30,
    "latency_users": 1500,
    "latency_batches": "1,64,256",
}
"""The paper's, of a study that takes hours; by itself it is a quick one (``Settings.profile``)."""


def arrange(parameters: Parameters) -> None:
    """Arrange the study; a list of None leaves its part out."""
    prepared = prepare(parameters)
    data = prepared.outputs["dataset"]
    with dsl.ParallelFor(items=parameters.trainings, parallelism=AT_ONCE) as training:
        trained = train(data, parameters, training, parameters.gpus, overrides=parameters.overrides)
        evaluated = rank(data, trained, parameters)
    compared = _compare(data, evaluated, parameters)
    parts = _again_by_time(prepared, parameters) if parameters.global_time_trainings is not None else {}
    champion = {
        "models": dsl.Collected(trained.outputs["model"]),
        "item_index": parameters.item_index,
        "replace_champion": parameters.replace_champion,
    }
    registered = task(register_champion, parameters, dataset=data, **champion)

    if parameters.rankers is not None:
        with dsl.ParallelFor(items=parameters.rankers, parallelism=AT_ONCE) as ranker:
            retrieved = retrieve(data, ranker.retriever, ranker.seed, parameters)
            pairs = task(mine_preferences, parameters, dataset=data, seed=ranker.seed).outputs["pairs"]
            parts |= rank_and_align(data, retrieved, pairs, ranker, parameters)
    if parameters.generators is not None:
        with dsl.ParallelFor(items=parameters.generators, parallelism=AT_ONCE) as generator:
            generation = generate(data, generator, parameters)
        parts["generations"] = dsl.Collected(generation)

    timed = task(
        measure_latency,
        parameters,
        dataset=data,
        models=dsl.Collected(trained.outputs["model"]),
        samples=parameters.latency_samples,
        users=parameters.latency_users,
        batches=parameters.latency_batches,
        with_replacement=True,
        warm_up=3,
    )
    report_on(
        "comparative",
        parameters,
        dataset=data,
        evaluations=dsl.Collected(evaluated.outputs["metrics"]),
        curves=dsl.Collected(trained.outputs["curve"]),
        comparison=compared.outputs["comparison"],
        latency=timed.outputs["summary"],
        latency_samples=timed.outputs["latency"],
        registration=registered.outputs["registration"],
        **parts,
    )


def _compare(data: Any, evaluated: PipelineTask, parameters: Parameters) -> PipelineTask:
    found = {name: dsl.Collected(evaluated.outputs[name]) for name in ("ranks", "candidates")}
    return task(compare_models, parameters, dataset=data, **found)


def _again_by_time(prepared: PipelineTask, parameters: Parameters) -> dict[str, Any]:
    prepared_by_time = prepare(parameters, splitting=GLOBAL_TIME).set_display_name("prepare, global-time")
    prepared_by_time.after(prepared)  # which downloads, once for both, and says first what is wrong with the source
    data = prepared_by_time.outputs["dataset"]
    with dsl.ParallelFor(items=parameters.global_time_trainings, parallelism=AT_ONCE) as training:
        trained = train(data, parameters, training, parameters.gpus, overrides=training.overrides)
        trained.set_display_name("train, global-time")
        evaluated = rank(data, trained, parameters).set_display_name("evaluate, global-time")
    compared = _compare(data, evaluated, parameters).set_display_name("compare, global-time")
    return {
        "global_time_dataset": data,
        "global_time_evaluations": dsl.Collected(evaluated.outputs["metrics"]),
        "global_time_comparison": compared.outputs["comparison"],
    }


def comparative_study(package: str) -> Any:
    """Return the pipeline of a package of ``PACKAGES``."""
    contents, left_out = PACKAGES[package]
    description = (
        f"Compare {contents}, with the paper's numbers next to them. Set `dataset` (ml-100k, ml-1m, amazon-2023-...; "
        "or events, with `source`), `trainings` and `profile`. No list may be empty: to leave a part out, take the "
        "package without it."
    )
    name = package.replace("_", "-")
    different = Package(name=name, description=description, defaults=DEFAULTS, left_out=left_out)
    return study_pipeline(arrange, Settings, LISTS, different)
