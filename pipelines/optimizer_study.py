"""The optimizer study: tune every optimizer alike, then compare each with every way to choose batches, and report.

It includes the paper's Figure 3: 2Mamba4Rec on ML-100K, USGM with adaptive batches compared with Adam.
"""

from kfp import dsl

from pipelines.hardware import AT_ONCE
from pipelines.parameters import Parameters, study_pipeline, task
from pipelines.tasks import report_on, train_labelled
from ssm4rec.stages.components import choose_settings, prepare_data
from ssm4rec.studies.optimizers.plan import Settings

LISTS = {"trainings": 'the sweep, one {"model", "seed", "overrides", "label"} each'}


def arrange(parameters: Parameters) -> None:
    """Arrange the study."""
    data = task(prepare_data, parameters).outputs["dataset"]
    with dsl.ParallelFor(items=parameters.trainings, parallelism=AT_ONCE) as training:
        trial = train_labelled(data, parameters, training)
    chosen = task(
        choose_settings,
        parameters,
        curves=dsl.Collected(trial.outputs["curve"]),
        controls=parameters.controls,
        seeds=parameters.seeds,
        overrides=parameters.overrides,
    )
    with dsl.ParallelFor(items=chosen.outputs["trainings"], parallelism=AT_ONCE) as training:
        compared = train_labelled(data, parameters, training)
    report_on(
        "optimizers",
        parameters,
        sweep=dsl.Collected(trial.outputs["curve"]),
        curves=dsl.Collected(compared.outputs["curve"]),
    )


optimizer_study = study_pipeline(arrange, Settings, LISTS)
