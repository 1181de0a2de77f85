"""What register_champion is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ssm4rec.runtime.extras import Extra, check_installed
from ssm4rec.settings.flags import Flag, Read, StageSettings, Written
from ssm4rec.settings.outputs import input_addresses, output_file, output_folder
from ssm4rec.settings.shared import DatasetDir, FromKFP


@dataclass(frozen=True, kw_only=True)
class Settings(StageSettings):
    """Write the best model by validation as an MLflow model, and register it where tracking is on."""

    dataset_dir: DatasetDir
    models: Annotated[tuple[Path, ...], Read("Model", "model folders, from train_recommender, of one data set")] = ()
    added_items: Annotated[
        str,
        Flag(
            "address of items added since the training, a file with the columns item_id and title: the champion "
            "recommends them by their words; empty: none",
            input_addresses,
        ),
    ] = ""
    item_index: Annotated[
        bool,
        Flag(
            "where there are 50,000 items or more, build an approximate index of them, by which a server answers "
            "without scoring all of them, and measure its recall on validation users"
        ),
    ] = False
    replace_champion: Annotated[bool, Flag("take the alias from a champion of other data or another split, too")] = (
        False
    )
    champion_dir: Annotated[Path, Written("Model", output_folder("register_champion"), "MLflow model folder to write")]
    registration: Annotated[
        Path, Written("Artifact", output_file("JSON"), "registration.json, what was registered as what, or why not")
    ]
    executor_input: FromKFP = ""

    def check_here(self) -> None:
        """Raise InputError if an index is wanted without usearch."""
        if self.item_index:
            check_installed(Extra.USEARCH, "--item-index", "leave the flag out")
