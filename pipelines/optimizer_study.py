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
    told = {"controls": parameters.controls, "overrides": parameters.overrides}
    chosen = task(choose_settings, parameters, curves=dsl.Collected(trial.outputs["curve"]), **told)
    with dsl.ParallelFor(items=chosen.outputs["trainings"], parallelism=AT_ONCE) as training:
        compared = train_labelled(data, parameters, training)
    sweep, curves = (dsl.Collected(one.outputs["curve"]) for one in (trial, compared))
    report_on("optimizers", parameters, dataset=data, sweep=sweep, curves=curves)


optimizer_study = study_pipeline(arrange, Settings, LISTS)
