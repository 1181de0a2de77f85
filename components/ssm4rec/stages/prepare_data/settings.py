"""What prepare_data is told."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Final

from ssm4rec.artifacts.names import GLOBAL_TIME, LEAVE_ONE_OUT
from ssm4rec.data.data_sets import EVENTS, check_data_set, check_files, data_set_name
from ssm4rec.data.engine import POLARS, RAY, WITHOUT_RAY
from ssm4rec.data.event_order import RECBOLE
from ssm4rec.data.source import SourceOptions
from ssm4rec.data.splitting import check_fractions
from ssm4rec.data.time_units import ORDER
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.extras import Extra, check_installed
from ssm4rec.runtime.files import cache_folder
from ssm4rec.settings.command_line import label, whole_number
from ssm4rec.settings.data import DataNodes, Engine, PreparedData
from ssm4rec.settings.flags import Flag, Written
from ssm4rec.settings.nodes import check_nodes, other_nodes
from ssm4rec.settings.outputs import output_folder

NO_RATINGS: Final = "--minimum-rating: the events have no ratings; name their column with --rating-column"
ROUNDED_TIMES: Final = (
    "--event-order recbole: it rounds times, --splitting global-time needs them exact; use --splitting leave-one-out "
    "(and in a study --global-time none)"
)
NO_TIMES: Final = (
    "--splitting global-time: the time column holds order numbers, not times; use --splitting leave-one-out "
    "(and in a study --global-time none)"
)


@dataclass(frozen=True, kw_only=True)
class Settings(PreparedData):
    """Fetch a data set, filter, order and split it."""

    cold_items: Annotated[
        float,
        Flag(
            "share of the items that is held out of training, those that appeared last, such as 0.1: users who had "
            "one have it as their test target (leave-one-out); 0: none"
        ),
    ] = 0.0
    least_test_users: Annotated[
        int,
        Flag(
            "refuse the data if fewer users have a test target: a study that compares models over users sets 2",
            whole_number(0),
        ),
    ] = 0
    engine: Engine = POLARS
    workers: Annotated[
        int,
        Flag(
            "processes of --engine ray on this machine, each on a core; 0: one per core. A cluster that RAY_ADDRESS "
            "names gives all its cores",
            whole_number(0),
        ),
    ] = 0
    nodes: DataNodes = 1
    label: Annotated[
        str, Flag("names this data set among others of a study, in its folder and logs; empty: there are none", label)
    ] = ""
    dataset_dir: Annotated[
        Path,
        Written(
            "Dataset",
            output_folder("prepare_data"),
            "folder to write; a dataset folder there is replaced, anything else refused",
        ),
    ]

    def called(self) -> str:
        """Return the data set's name; raise InputError if it is not one."""
        return data_set_name(self.dataset, self.name, self.source)

    def source_options(self) -> SourceOptions:
        """Return what the readers are told."""
        told = {option.name: getattr(self, option.name) for option in fields(SourceOptions)}
        return SourceOptions(**{**told, "cache_dir": cache_folder(self.cache_dir)})

    def check(self) -> None:
        """Raise InputError if the settings are wrong on every machine, whatever the data."""
        check_fractions(self.validation_fraction, self.test_fraction)
        if not 0 <= self.cold_items < 1:
            raise InputError(f"--cold-items {self.cold_items}: a share of the items, from 0 to below 1")
        if self.cold_items and self.splitting != LEAVE_ONE_OUT:
            raise InputError(
                f"--cold-items {self.cold_items}: holds items out of --splitting {LEAVE_ONE_OUT}; {self.splitting} has "
                "new items of its own, leave it out"
            )
        self.called()
        check_data_set(self.source_options())
        if self.workers and self.engine != RAY:
            raise InputError(f"--workers {self.workers}: is of --engine {RAY}; set that, or leave the flag out")
        if self.nodes > 1 and self.engine != RAY:
            raise InputError(f"--nodes {self.nodes}: is of --engine {RAY}; set that, or leave the flag out")
        check_nodes(self.nodes, "--cache-dir", self.cache_dir, "/cache", self.workers)
        own = self.dataset == EVENTS
        if own and self.minimum_rating is not None and not self.rating_column:
            raise InputError(NO_RATINGS)
        if own and self.splitting == GLOBAL_TIME and self.time_unit == ORDER:
            raise InputError(NO_TIMES)
        if self.splitting == GLOBAL_TIME and self.event_order == RECBOLE:
            raise InputError(ROUNDED_TIMES)

    def check_engine(self) -> None:
        """Raise InputError if this machine lacks the engine."""
        if self.engine == RAY:
            check_installed(Extra.RAY, f"--engine {RAY}", WITHOUT_RAY)

    def check_here(self) -> None:
        """Raise InputError if this machine lacks Ray or the source's files, or other nodes are wanted."""
        if self.nodes > 1:
            raise other_nodes(f"--nodes {self.nodes}")
        self.check_engine()
        check_files(self.source_options())
