"""What measure_latency is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ssm4rec.latency.protocol import BATCHES, SAMPLES, USERS, Protocol
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import whole_number
from ssm4rec.settings.flags import Flag, Read, Shown, StageSettings, Written
from ssm4rec.settings.outputs import output_file
from ssm4rec.settings.shared import Compile, DatasetDir, Device, FromKFP, Kernels, Precision, Seed
from ssm4rec.training.device import choose_device, choose_kernels
from ssm4rec.training.distributed import choose_precision


@dataclass(frozen=True, kw_only=True)
class Settings(StageSettings):
    """Measure how long models take from a user's history to suggestions, all under the same conditions."""

    IMAGE: ClassVar[str] = "train"

    dataset_dir: DatasetDir
    models: Annotated[
        tuple[Path, ...], Read("Model", "model folders, from train_recommender; timed in turn, in random order")
    ] = ()
    longest_only: Annotated[
        bool,
        Flag("of models that differ in model.max_length alone, measure the one that reads most; else refuse them"),
    ] = False
    device: Device = "auto"
    precision: Precision = "fp32"
    kernels: Kernels = "auto"
    compile: Compile = False
    threads: Annotated[int, Flag("of a CPU; 0: as many as torch takes", whole_number(0))] = 0
    samples: Annotated[int, Flag("drawn from the users; the paper's 30")] = SAMPLES
    users: Annotated[int, Flag("of a sample; the paper's 1,500", whole_number(1))] = USERS
    batches: Annotated[
        str, Flag("users per request, separated by commas, each is measured; empty with --lengths: none")
    ] = ",".join(map(str, BATCHES))
    single_users: Annotated[int, Flag("of a sample at batch 1, which takes longest; 0: --users", whole_number(0))] = 0
    with_replacement: Annotated[bool, Flag("a sample may hold a user twice")] = False
    warm_up: Annotated[int, Flag("requests without a clock before every timed sample", whole_number(0))] = 1
    lengths: Annotated[str, Flag("of histories at which one user is timed, such as 50,200,1000; empty: none")] = ""
    seed: Seed = 0
    latency: Annotated[
        Path, Written("Artifact", output_file("Parquet"), "latency.parquet to write, a row per timed sample")
    ]
    summary: Annotated[Path, Written("Artifact", output_file("JSON"), "latency.json to write: intervals and crossings")]
    shown: Annotated[None, Shown("means, for the KFP UI; no task reads them")] = None
    executor_input: FromKFP = ""

    def protocol(self) -> Protocol:
        """Return the protocol that the settings ask for; raise InputError if there is none such."""
        return Protocol(
            samples=self.samples,
            users=self.users,
            single_users=self.single_users or self.users,
            batches=_numbers("--batches", self.batches),
            warm_up=self.warm_up,
            with_replacement=self.with_replacement,
            lengths=_numbers("--lengths", self.lengths),
            seed=self.seed,
        )

    def check(self) -> None:
        """Raise InputError if the settings are wrong on every machine."""
        self.protocol()

    def check_here(self) -> None:
        """Raise InputError if this machine lacks what the settings ask for."""
        device = choose_device(self.device)
        choose_kernels(self.kernels, device)
        choose_precision(self.precision, device)


def _numbers(flag: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",") if part.strip()))
    except ValueError:
        raise InputError(f"{flag} {text}: whole numbers, separated by commas") from None
