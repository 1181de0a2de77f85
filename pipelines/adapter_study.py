"""The adapter study (the paper's open question 2): its optimizer against AdamW on LlamaRec's LoRA matrices."""

from dataclasses import replace

from kfp import dsl

from pipelines.hardware import AT_ONCE, PLACES
from pipelines.parameters import Parameters, study_pipeline, task
from pipelines.tasks import finetune, report_on, retrieve
from ssm4rec.stages.components import prepare_data
from ssm4rec.studies.adapters.plan import Settings

LISTS = {"adapters": 'fine-tunings, one {"language_model": source or "", "seed", "overrides", "label"} each'}


def arrange(parameters: Parameters) -> None:
    """Arrange the study."""
    data = task(prepare_data, parameters).outputs["dataset"]
    retrieved = retrieve(data, parameters.retriever, 0, parameters)
    place = replace(PLACES["finetune_llm"], hours=24)
    with dsl.ParallelFor(items=parameters.adapters, parallelism=AT_ONCE) as adapter:
        how = {"ranker": "letters", "overrides": adapter.overrides, "label": adapter.label}
        tuned = finetune(data, retrieved, adapter, parameters, place=place, **how)
    adapters, curves = (dsl.Collected(tuned.outputs[name]) for name in ("adapter", "curve"))
    report_on("adapters", parameters, dataset=data, adapters=adapters, curves=curves)


adapter_study = study_pipeline(arrange, Settings, LISTS)
