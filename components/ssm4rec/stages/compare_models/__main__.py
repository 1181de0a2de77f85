"""Compare the evaluated models of a study, pair by pair: ``python -m ssm4rec.stages.compare_models --help``."""

import argparse
import logging
from pathlib import Path

from ssm4rec.artifacts.comparison import Comparison
from ssm4rec.artifacts.estimate import SIGNIFICANCE
from ssm4rec.artifacts.ranks import read_candidates, read_ranks
from ssm4rec.command_line import StageParser, run_stage, seed
from ssm4rec.contracts import PROTOCOLS, metric_name
from ssm4rec.data.dataset import read_manifest, read_sequences, titled
from ssm4rec.errors import InputError
from ssm4rec.evaluation.compare import CUTOFF, compare, gather
from ssm4rec.executor_input import input_paths
from ssm4rec.outputs import input_path, output_file
from ssm4rec.tracking import tracked_task

logger = logging.getLogger(__name__)

_FEWEST_RESAMPLES = 100


def build_parser() -> StageParser:
    """Return the stage's command line."""
    parser = StageParser("ssm4rec.stages.compare_models", "Say which differences between models are more than chance.")
    parser.add_argument("--dataset-dir", type=input_path, required=True, help="dataset folder, from prepare_data")
    parser.add_argument(
        "--ranks", type=input_path, nargs="*", default=[], metavar="FILE", help="ranks.parquet of each evaluation"
    )
    parser.add_argument(
        "--candidates",
        type=input_path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="candidates.parquet of each evaluation",
    )
    parser.add_argument(
        "--executor-input",
        default="",
        help="KFP's executor input, which names ranks and candidates in the place of the two flags; empty: by hand",
    )
    parser.add_argument("--resamples", type=int, default=10_000, help="bootstrap draws, and permutations, of the users")
    parser.add_argument("--seed", type=seed, default=0, help="of the resampling; the same gives the same numbers")
    parser.add_argument("--comparison", type=output_file("JSON"), required=True, help="comparison.json to write")
    return parser


def run(options: argparse.Namespace) -> None:
    """Read everything, compare, then write."""
    if options.resamples < _FEWEST_RESAMPLES:
        raise InputError(
            f"--resamples {options.resamples}: too few for an interval of 95%; take {_FEWEST_RESAMPLES} or more"
        )
    ranks: list[Path] = options.ranks
    candidates: list[Path] = options.candidates
    if options.executor_input:
        ranks = input_paths(options.executor_input, "ranks")
        candidates = input_paths(options.executor_input, "candidates")
    manifest = read_manifest(options.dataset_dir)
    tags = {"stage": "compare_models", "dataset": manifest["dataset"], "splitting": manifest["split"]["name"]}
    dataset = read_sequences(options.dataset_dir)
    evaluations = gather(
        (read_ranks(path, dataset) for path in ranks), (read_candidates(path, dataset) for path in candidates)
    )
    with tracked_task(f"compare {titled(manifest)}", tags) as tracker:
        tracker.settings({"resamples": options.resamples, "seed": options.seed})
        comparison = compare(dataset, evaluations, options.resamples, options.seed)
        comparison.write(options.comparison)
        tracker.text("comparison.json", options.comparison.read_text(encoding="utf-8"))
    for protocol in PROTOCOLS:
        _log_pairs(comparison, protocol)


def _log_pairs(comparison: Comparison, protocol: str) -> None:
    metric = metric_name("ndcg", CUTOFF)
    pairs = [pair for pair in comparison.pairs if (pair.protocol, pair.metric) == (protocol, metric)]
    logger.info(
        "%s on %s, history %s: %d of %d pairs differ significantly (95%% interval and Holm-corrected p < %g)",
        metric,
        comparison.split,
        protocol,
        sum(pair.difference.sign != 0 for pair in pairs),
        len(pairs),
        SIGNIFICANCE,
    )


def main() -> None:
    """Run the stage from the command line."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()
