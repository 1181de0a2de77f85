"""An alignment study's files: those of a comparative study that it has."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssm4rec.report.language_model_files import RankerFiles
from ssm4rec.studies.comparative import study as comparative


@dataclass(frozen=True, kw_only=True)
class Files(RankerFiles):
    """What an alignment study left: its rankers, and the retriever as a recommender next to them."""

    dataset_dir: Path
    evaluations: Sequence[Path]
    curves: Sequence[Path] = ()


def read_study(files: Files) -> comparative.Study:
    """Read the files; raise InputError as the comparative study does."""
    return comparative.read_study(comparative.Files(**vars(files)))
