"""What mine_preferences is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ssm4rec.settings.command_line import whole_number
from ssm4rec.settings.flags import Flag, Read, StageSettings, Written
from ssm4rec.settings.outputs import output_file
from ssm4rec.settings.shared import DatasetDir, FromKFP, PairsBy, Seed


@dataclass(frozen=True, kw_only=True)
class Settings(StageSettings):
    """Make preference pairs of training items: by rating, against LightFM's worst, or against the retriever's best."""

    dataset_dir: DatasetDir
    retriever_dir: Annotated[
        Path | None, Read("Model", "model folder of the retriever, for --pairs-by retriever", optional=True)
    ] = None
    pairs_by: PairsBy = "paper"
    seed: Seed = 0
    epochs: Annotated[int, Flag("LightFM's passes over the training interactions", whole_number(1))] = 20
    components: Annotated[int, Flag("width of LightFM's embeddings", whole_number(1, 1024))] = 32
    pairs: Annotated[Path, Written("Artifact", output_file("Parquet"), "pairs.parquet to write, a row per pair")]
    counts: Annotated[
        Path, Written("Metrics", output_file("JSON"), "counts.json to write; its numbers show in the KFP UI, too")
    ]
    executor_input: FromKFP = ""
