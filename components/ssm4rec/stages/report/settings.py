"""What report is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ssm4rec.settings.flags import Read
from ssm4rec.settings.shared import DatasetDir, FromKFP, ReportSettings


@dataclass(frozen=True, kw_only=True)
class Settings(ReportSettings):
    """Write the report of a study from its files."""

    dataset_dir: DatasetDir
    evaluations: Annotated[tuple[Path, ...], Read("Artifact", "metrics.json of each evaluation")] = ()
    curves: Annotated[tuple[Path, ...], Read("Artifact", "curve.parquet of each training")] = ()
    finetuned_rankings: Annotated[
        tuple[Path, ...],
        Read("Artifact", "rankings.parquet of each fine-tuned ranker; may be left out, as all below", optional=True),
    ] = ()
    finetuned_summaries: Annotated[
        tuple[Path, ...], Read("Artifact", "ranking.json of each, in the same order", optional=True)
    ] = ()
    aligned_rankings: Annotated[
        tuple[Path, ...], Read("Artifact", "rankings.parquet of each aligned ranker", optional=True)
    ] = ()
    aligned_summaries: Annotated[
        tuple[Path, ...], Read("Artifact", "ranking.json of each, in the same order", optional=True)
    ] = ()
    tunings: Annotated[
        tuple[Path, ...],
        Read("Artifact", "curve.parquet of each fine-tuning, in the order of the fine-tuned rankers", optional=True),
    ] = ()
    alignments: Annotated[
        tuple[Path, ...],
        Read("Artifact", "curve.parquet of each alignment, in the order of the aligned rankers", optional=True),
    ] = ()
    generations: Annotated[
        tuple[Path, ...], Read("Artifact", "generation.json of each evaluated generator", optional=True)
    ] = ()
    comparison: Annotated[Path | None, Read("Artifact", "comparison.json, from compare_models", optional=True)] = None
    global_time_dataset: Annotated[
        Path | None, Read("Dataset", "dataset folder of the same data, split by global-time", optional=True)
    ] = None
    global_time_evaluations: Annotated[
        tuple[Path, ...], Read("Artifact", "metrics.json of each evaluation on it", optional=True)
    ] = ()
    global_time_comparison: Annotated[Path | None, Read("Artifact", "comparison.json of these", optional=True)] = None
    latency: Annotated[Path | None, Read("Artifact", "latency.json, from measure_latency", optional=True)] = None
    latency_samples: Annotated[
        Path | None, Read("Artifact", "latency.parquet of the same measurement", optional=True)
    ] = None
    executor_input: FromKFP = ""
