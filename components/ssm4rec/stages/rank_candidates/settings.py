"""What rank_candidates is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ssm4rec.artifacts.dataset import Split
from ssm4rec.artifacts.names import SPLITS
from ssm4rec.settings.command_line import one_of, whole_number
from ssm4rec.settings.flags import Flag, Read, Shown, StageSettings, Written
from ssm4rec.settings.outputs import output_file
from ssm4rec.settings.shared import DatasetDir, Device, FromKFP, LanguageModelDir, LanguageModelVersion, Seed


@dataclass(frozen=True, kw_only=True)
class Settings(StageSettings):
    """Rank a retriever's candidates by a language model, next to random, popularity and the retriever's own order."""

    IMAGE: ClassVar[str] = "llm"

    dataset_dir: DatasetDir
    candidates: Annotated[Path, Read("Artifact", "candidates.parquet of the split, from evaluate")]
    adapter_dir: Annotated[Path, Read("Model", "adapter folder, of finetune_llm or align_llm")]
    split: Annotated[Split, Flag(f"whose targets are ranked: {', '.join(SPLITS)}", one_of(SPLITS))] = "test"
    users: Annotated[
        int,
        Flag(
            "at most so many of those whose target is among the candidates; 0: all; -1: as the ranker's recipe says",
            whole_number(-1),
        ),
    ] = -1
    base: Annotated[bool, Flag("rank without the adapter, too")] = False
    seed: Seed = 0
    device: Device = "auto"
    cache_dir: LanguageModelDir = ""
    language_model_version: LanguageModelVersion = ""
    rankings: Annotated[
        Path,
        Written("Artifact", output_file("Parquet"), "rankings.parquet to write, a row per user, ranker and order"),
    ]
    ranking: Annotated[Path, Written("Artifact", output_file("JSON"), "ranking.json to write")]
    shown: Annotated[None, Shown("its numbers at cutoff 10, for the KFP UI; no task reads them")] = None
    executor_input: FromKFP = ""
