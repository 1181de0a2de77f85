"""What recommend_all is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import one_of, whole_number
from ssm4rec.settings.flags import Flag, Read, Shown, StageSettings, Written
from ssm4rec.settings.nodes import LARGEST_NUMBER_OF_NODES, check_nodes, other_nodes
from ssm4rec.settings.outputs import input_addresses, kept_folder, output_folder
from ssm4rec.settings.shared import DatasetDir, Device, FromKFP, Workers
from ssm4rec.training.device import check_workers, choose_worker_device

MOST_OF_A_SHARD: Final = 10_000_000
"""Recommendations: a shard is in memory as a whole, some 60 bytes each."""


@dataclass(frozen=True, kw_only=True)
class Settings(StageSettings):
    """Write every user's best items; killed, the same command resumes."""

    dataset_dir: DatasetDir
    model_dir: Annotated[
        Path, Read("Model", "model folder, from train_recommender, or champion folder, from register_champion")
    ]
    k: Annotated[int, Flag("items per user", whole_number(1, 10_000))] = 10
    masked: Annotated[
        str,
        Flag(
            "leave out the items of a user's history: true, false, or auto: as the champion does, not for a model with "
            "a repeat term",
            one_of(("auto", "true", "false")),
        ),
    ] = "auto"
    allowed_items: Annotated[
        str,
        Flag(
            "address of the items that may be recommended, a file with the column item_id; empty: all", input_addresses
        ),
    ] = ""
    users: Annotated[
        str,
        Flag(
            "address of the users, a file with the column user_id: those that the data do not know get the most "
            "popular items; empty: all users of the data",
            input_addresses,
        ),
    ] = ""
    other_data: Annotated[
        bool,
        Flag(
            "recommend from data that the model was not trained on, such as the next day's: items are found by the "
            "source's ids, and those that it does not know have their words alone"
        ),
    ] = False
    added_items: Annotated[
        str,
        Flag(
            "address of items that the data do not have yet, a file with the columns item_id and title: a model that "
            "knows items by their words recommends them, too; empty: none",
            input_addresses,
        ),
    ] = ""
    users_per_shard: Annotated[int, Flag("users in each file", whole_number(1))] = 50_000
    device: Device = "auto"
    workers: Workers = 1
    nodes: Annotated[
        int,
        Flag(
            "nodes of the cluster that share the users, each by all cores that the task asks for, or its GPUs, and one "
            "more for the stage's own process: the stage creates a RayJob (KubeRay) and ends with it; 1: this machine, "
            "or the cluster that RAY_ADDRESS names",
            whole_number(1, LARGEST_NUMBER_OF_NODES),
        ),
    ] = 1
    checkpoint_dir: Annotated[
        str,
        Flag(
            "folder of finished shards until all are there, each job's in a subfolder of its own; empty: next to the "
            "output folder",
            kept_folder,
        ),
    ] = ""
    recommendations_dir: Annotated[
        Path,
        Written(
            "Dataset",
            output_folder("recommend_all"),
            "folder to write: part-*.parquet with user_id, item_id, rank and score, and _manifest.json",
        ),
    ]
    shown: Annotated[None, Shown("how many users and recommendations, for the KFP UI; no task reads them")] = None
    executor_input: FromKFP = ""

    def check(self) -> None:
        """Raise InputError if a shard would not fit in memory, or other nodes are wanted without what they need."""
        if self.k * self.users_per_shard > MOST_OF_A_SHARD:
            raise InputError(
                f"--users-per-shard {self.users_per_shard}: with --k {self.k} a shard has more than "
                f"{MOST_OF_A_SHARD:,} recommendations; give at most {MOST_OF_A_SHARD // self.k}"
            )
        workers = 0 if self.workers == 1 else self.workers
        check_nodes(self.nodes, "--checkpoint-dir", self.checkpoint_dir, "/cache/checkpoints", workers)

    def check_here(self) -> None:
        """Raise InputError if several workers are wanted without Ray or enough GPUs, or other nodes are wanted."""
        if self.nodes > 1:
            raise other_nodes(f"--nodes {self.nodes}")
        check_workers(self.workers, choose_worker_device(self.device, self.workers))
