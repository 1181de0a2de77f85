"""Several evaluations of one data set, as stages that report on them are given them."""

import argparse

from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.ranks import Ranks, read_ranks
from ssm4rec.command_line import StageParser
from ssm4rec.data.dataset import SequenceDataset
from ssm4rec.errors import InputError
from ssm4rec.executor_input import input_paths
from ssm4rec.outputs import input_path


def add_evaluation_flags(parser: StageParser) -> None:
    """Add the flags that name evaluations and their ranks, by hand or as KFP does."""
    parser.add_argument(
        "--evaluations", type=input_path, nargs="*", default=[], metavar="FILE", help="metrics.json of each evaluation"
    )
    parser.add_argument(
        "--ranks",
        type=input_path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="ranks.parquet of each, in the same order",
    )
    parser.add_argument(
        "--executor-input",
        default="",
        help="KFP's executor input, which names evaluations and ranks instead of the two flags; empty: by hand",
    )


def read_evaluated(options: argparse.Namespace, dataset: SequenceDataset) -> list[tuple[EvaluationSummary, Ranks]]:
    """Read what the flags of :func:`add_evaluation_flags` name.

    Raises:
        InputError: there are not as many of the one as of the other, or a file is not of an evaluation of ``dataset``.
    """
    evaluations, ranks = options.evaluations, options.ranks
    if options.executor_input:
        evaluations, ranks = (input_paths(options.executor_input, name) for name in ("evaluations", "ranks"))
    if len(evaluations) != len(ranks):
        raise InputError(f"--ranks: {len(ranks)} files for {len(evaluations)} of --evaluations; give one for each")
    return [
        (EvaluationSummary.read(summary), read_ranks(path, dataset))
        for summary, path in zip(evaluations, ranks, strict=True)
    ]
