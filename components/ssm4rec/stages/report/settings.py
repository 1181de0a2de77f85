"""What report is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ssm4rec.artifacts.names import REPORT_HTML, REPORT_MARKDOWN, RESULTS
from ssm4rec.settings.command_line import one_of
from ssm4rec.settings.flags import Flag, Read, StageSettings, Written
from ssm4rec.settings.outputs import output_file, output_folder
from ssm4rec.settings.shared import FromKFP, Resamples
from ssm4rec.studies import STUDIES

Paths = tuple[Path, ...]


def _file(what: str, kind: str = "Artifact") -> Read:
    return Read(kind, what, optional=True)


@dataclass(frozen=True, kw_only=True)
class Settings(StageSettings):
    """Write the report of a study from its files; the studies that take a flag are named in brackets after it."""

    report_html: Annotated[Path, Written("HTML", output_file("HTML"), "the report as one page")] = Path(REPORT_HTML)
    report_markdown: Annotated[Path, Written("Markdown", output_file("Markdown"), "the report as Markdown")] = Path(
        REPORT_MARKDOWN
    )
    results: Annotated[Path, Written("Artifact", output_file("JSON"), "results.json, every number of the study")] = (
        Path(RESULTS)
    )
    figures: Annotated[
        Path, Written("Artifact", output_folder("report"), "folder of the figures, each as PNG and CSV")
    ] = Path("figures")
    study: Annotated[str, Flag("whose report it is, such as comparative", one_of(STUDIES))]
    dataset_dir: Annotated[
        Path | None, _file("dataset folder, from prepare_data (all; optimizers and adapters do without)", "Dataset")
    ] = None
    evaluations: Annotated[Paths, _file("metrics.json of each evaluation (all but optimizers, adapters)")] = ()
    ranks: Annotated[
        Paths, _file("ranks.parquet of each evaluation, in the same order (long-histories, reproduction)")
    ] = ()
    curves: Annotated[
        Paths,
        _file(
            "curve.parquet of each training (comparative, orpo), of each training of the comparison (optimizers), or "
            "of each adapter, in the same order (adapters)"
        ),
    ] = ()
    sweep: Annotated[Paths, _file("curve.parquet of each training of the sweep (optimizers)")] = ()
    adapters: Annotated[Paths, _file("adapter folders of finetune_llm (adapters)", "Model")] = ()
    finetuned_rankings: Annotated[Paths, _file("rankings.parquet of each fine-tuned ranker (comparative, orpo)")] = ()
    finetuned_summaries: Annotated[
        Paths, _file("ranking.json of each of them, in the same order (comparative, orpo)")
    ] = ()
    aligned_rankings: Annotated[Paths, _file("rankings.parquet of each aligned ranker (comparative, orpo)")] = ()
    aligned_summaries: Annotated[
        Paths, _file("ranking.json of each of them, in the same order (comparative, orpo)")
    ] = ()
    control_rankings: Annotated[
        Paths, _file("rankings.parquet of each ranker trained on the winners alone (comparative, orpo)")
    ] = ()
    control_summaries: Annotated[
        Paths, _file("ranking.json of each of them, in the same order (comparative, orpo)")
    ] = ()
    tunings: Annotated[
        Paths, _file("curve.parquet of each fine-tuning, in the order of the fine-tuned rankers (comparative, orpo)")
    ] = ()
    alignments: Annotated[
        Paths, _file("curve.parquet of each alignment, in the order of the aligned rankers (comparative, orpo)")
    ] = ()
    generations: Annotated[Paths, _file("generation.json of each evaluated generator (comparative)")] = ()
    comparison: Annotated[Path | None, _file("comparison.json, from compare_models (comparative)")] = None
    global_time_dataset: Annotated[
        Path | None, _file("dataset folder of the same data, split by global-time (comparative)", "Dataset")
    ] = None
    global_time_evaluations: Annotated[
        Paths, _file("metrics.json of each evaluation on --global-time-dataset (comparative)")
    ] = ()
    global_time_comparison: Annotated[
        Path | None, _file("comparison.json of --global-time-evaluations (comparative)")
    ] = None
    pretrained: Annotated[Path | None, _file("folder of the model that was pre-trained (scaling)", "Model")] = None
    target_dataset: Annotated[
        Path | None, _file("dataset folder of the data that it is fine-tuned on (scaling)", "Dataset")
    ] = None
    scratch_evaluations: Annotated[
        Paths, _file("metrics.json of each training from scratch on --target-dataset (scaling)")
    ] = ()
    finetuned_evaluations: Annotated[
        Paths, _file("metrics.json of each fine-tuning of --pretrained, by the same recipes and seeds (scaling)")
    ] = ()
    latency: Annotated[
        Path | None,
        _file(
            "latency.json, from measure_latency; for long-histories measured with --lengths (comparative, "
            "long-histories)"
        ),
    ] = None
    latency_samples: Annotated[Path | None, _file("latency.parquet of the same measurement (comparative)")] = None
    registration: Annotated[Path | None, _file("registration.json, from register_champion (comparative)")] = None
    resamples: Resamples = 10_000
    executor_input: FromKFP = ""
