"""The command line of measure_latency, and what it accepts."""

import argparse

from ssm4rec.command_line import StageParser, boolean, one_of, seed, whole_number
from ssm4rec.device import DEVICES, choose_device, choose_kernels
from ssm4rec.errors import InputError
from ssm4rec.latency.protocol import BATCHES, SAMPLES, USERS, Protocol
from ssm4rec.ops.choice import FORMS
from ssm4rec.outputs import input_path, output_file
from ssm4rec.training.machine import PRECISIONS, choose_precision


def build_parser() -> StageParser:
    """Return the stage's command line."""
    parser = StageParser(
        "ssm4rec.stages.measure_latency",
        "Measure how long models take from a user's history to suggestions, all under the same conditions.",
    )
    parser.add_argument("--dataset-dir", type=input_path, required=True, help="dataset folder, from prepare_data")
    parser.add_argument(
        "--models", type=input_path, nargs="*", default=[], metavar="DIR", help="model folders, from train_recommender"
    )
    parser.add_argument(
        "--longest-only",
        type=boolean,
        default=False,
        help="of models that differ in model.maximum_length alone, measure the one that reads most; else refuse them",
    )
    parser.add_argument(
        "--device", type=one_of(DEVICES), default="auto", help="cpu, cuda, or auto: cuda where there is one"
    )
    parser.add_argument(
        "--precision",
        type=one_of(PRECISIONS),
        default="fp32",
        help="fp32, tf32, bf16, or auto: bf16 on a GPU (weights stay fp32), else fp32",
    )
    parser.add_argument(
        "--kernels",
        type=one_of(FORMS),
        default="auto",
        help="form of the operators: sequential, torch, fused, or auto: fused where it is",
    )
    parser.add_argument("--compile", type=boolean, default=False, help="send the forward through torch.compile")
    parser.add_argument("--threads", type=whole_number(0), default=0, help="of a CPU; 0: as many as torch takes")
    parser.add_argument("--samples", type=whole_number(), default=SAMPLES, help="drawn from the users; the paper's 30")
    parser.add_argument("--users", type=whole_number(), default=USERS, help="of a sample; the paper's 1,500")
    parser.add_argument(
        "--batches",
        default=",".join(map(str, BATCHES)),
        help="users per request, each is measured; empty with --lengths: none",
    )
    parser.add_argument(
        "--single-users",
        type=whole_number(0),
        default=0,
        help="of a sample at batch 1, which takes longest; 0: --users",
    )
    parser.add_argument("--with-replacement", type=boolean, default=False, help="a sample may hold a user twice")
    parser.add_argument(
        "--warm-up", type=whole_number(0), default=1, help="requests without a clock before every timed sample"
    )
    parser.add_argument(
        "--lengths", default="", help="of histories at which one user is timed, such as 50,200,1000; empty: none"
    )
    parser.add_argument("--seed", type=seed, default=0, help="draws users, generated histories and the models' order")
    parser.add_argument(
        "--latency", type=output_file("Parquet"), required=True, help="latency.parquet to write, a row per timed sample"
    )
    parser.add_argument(
        "--summary", type=output_file("JSON"), required=True, help="latency.json to write: intervals and crossings"
    )
    parser.add_argument(
        "--executor-input",
        default="",
        help="KFP's executor input, which names the models instead of --models; empty: by hand",
    )
    return parser


def chosen_protocol(options: argparse.Namespace) -> Protocol:
    """Return the protocol that the flags ask for.

    Raises:
        InputError: there is none such.
    """
    return Protocol(
        samples=options.samples,
        users=options.users,
        single_users=options.single_users or options.users,
        batches=_numbers("--batches", options.batches),
        warm_up=options.warm_up,
        with_replacement=options.with_replacement,
        lengths=_numbers("--lengths", options.lengths),
        seed=options.seed,
    )


def check(options: argparse.Namespace) -> None:
    """Raise InputError if the flags are wrong on every machine."""
    chosen_protocol(options)


def check_here(options: argparse.Namespace) -> None:
    """Raise InputError if this machine lacks what the flags ask for."""
    device = choose_device(options.device)
    choose_kernels(options.kernels, device)
    choose_precision(options.precision, device)


def _numbers(flag: str, text: str) -> tuple[int, ...]:
    """Return the whole numbers of a list such as ``256,64,1``, each once."""
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",") if part.strip()))
    except ValueError:
        raise InputError(f"{flag} {text}: whole numbers, separated by commas") from None
