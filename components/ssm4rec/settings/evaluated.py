"""Several evaluations of one data set, as stages that report on them are given them."""

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.ranks import Ranks, read_ranks
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.shared import EvaluatedSettings


def read_evaluated(settings: EvaluatedSettings, dataset: SequenceDataset) -> list[tuple[EvaluationSummary, Ranks]]:
    """Read the evaluations and their ranks.

    Raises:
        InputError: there are not as many of the one as of the other, or a file is not of an evaluation of ``dataset``.
    """
    evaluations, ranks = settings.evaluations, settings.ranks
    if len(evaluations) != len(ranks):
        raise InputError(f"--ranks: {len(ranks)} files for {len(evaluations)} of --evaluations; give one for each")
    return [
        (EvaluationSummary.read(summary), read_ranks(path, dataset))
        for summary, path in zip(evaluations, ranks, strict=True)
    ]
