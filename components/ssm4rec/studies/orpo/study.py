"""An alignment study's files: those of a comparative study that it has."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ssm4rec.report.language_model_files import RankerFiles
from ssm4rec.studies.comparative import study as comparative


@dataclass(frozen=True, kw_only=True)
class Files(RankerFiles):
    """What an alignment study left: its rankers, and the retriever as a recommender next to them."""

    dataset_dir: Path
    evaluations: Sequence[Path]
    # field(): without it these are still as optional as in a comparative study.
    finetuned_rankings: Sequence[Path] = field()
    finetuned_summaries: Sequence[Path] = field()
    aligned_rankings: Sequence[Path] = field()
    aligned_summaries: Sequence[Path] = field()
    curves: Sequence[Path] = ()


def read_study(files: Files) -> comparative.Study:
    """Read the files; raise InputError as the comparative study does."""
    return replace(comparative.read_study(comparative.Files(**vars(files))), about_rankers=True)
