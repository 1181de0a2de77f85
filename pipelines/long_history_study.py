"""The long-history study (the paper's open question): models with windows of several lengths, and what length costs."""

from kfp import dsl

from pipelines.hardware import AT_ONCE, Place
from pipelines.parameters import Parameters, study_pipeline, task
from pipelines.tasks import prepare, rank, report_on, train_labelled
from ssm4rec.stages.components import measure_latency
from ssm4rec.studies.long_histories.plan import Settings

LISTS = {"trainings": 'every model at every window, one {"model", "seed", "overrides", "label"} each'}


def arrange(parameters: Parameters) -> None:
    """Arrange the study."""
    data = prepare(parameters).outputs["dataset"]
    with dsl.ParallelFor(items=parameters.trainings, parallelism=AT_ONCE) as training:
        trained = train_labelled(data, parameters, training)
        evaluated = rank(data, trained, parameters)

    timed = task(
        measure_latency,
        parameters,
        dataset=data,
        models=dsl.Collected(trained.outputs["model"]),
        longest_only=True,
        samples=parameters.latency_samples,
        users=1,
        batches="",
        with_replacement=True,
        lengths=parameters.latency_lengths,
    )
    report_on(
        "long-histories",
        parameters,
        dataset=data,
        evaluations=dsl.Collected(evaluated.outputs["metrics"]),
        ranks=dsl.Collected(evaluated.outputs["ranks"]),
        latency=timed.outputs["summary"],
        place=Place(hours=1, cpus=2),
    )


long_history_study = study_pipeline(arrange, Settings, LISTS)
