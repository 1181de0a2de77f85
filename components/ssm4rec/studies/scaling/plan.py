"""The trainings of a scaling study: a grid of width, depth and data, with one catalog and one set of targets.

Data are nested shares of the users (``training.users_share``): every training is validated and tested on all users, so
that losses compare. Each has a schedule of its own that falls to zero at its last epoch, which the patience does not
cut short. With less data there are more epochs, in proportion to 1 / sqrt(share) and at most ``_MOST`` times as many: a
small share would else stop for want of steps, not of data.

Apart from the grid: one model of items with words is trained on one data set (``--pretrain-on``), and then on shares of
the users of another (``--fine-tune-on``), from its weights and from scratch, by the same recipe.
"""

import itertools
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from ssm4rec.data.data_sets import EVENTS, is_published, unknown_data_set
from ssm4rec.data.generated import GENERATED, OTHER_WORDS, WORDS
from ssm4rec.models.table import MODELS
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import number, one_of, several, value_refused, whole_number, whole_numbers
from ssm4rec.settings.data import DatasetName
from ssm4rec.settings.flags import Flag
from ssm4rec.settings.outputs import input_addresses
from ssm4rec.studies.settings import (
    Lists,
    NamedStudy,
    PlannedModels,
    PlannedSeeds,
    RecommenderStudy,
    Row,
    joined_overrides,
    refuse_own_settings,
)
from ssm4rec.tracking import Tracker

SHARE: Final = "training.users_share"
_MOST: Final = 6
_D_FF: Final = 4  # times the width, as in every recipe
_HEADED: Final = ("2mamba4rec", "hydra4rec")
_HEADDIM: Final = 16
"""Of these: their width times ``expand``, 2, is a multiple of it from width 8 on."""
_SMALL_BATCHES: Final = "training.tokens_per_batch=1000"
"""A third of the recipes': small shares have few steps. On all of the generated data SASRec of width 32 and depth 2 had
a loss of 5.05 nats after 12 epochs of these, 5.13 of the recipe's batches; the floor is 4.75."""
_OWN: Final = (
    "model.d_model", "model.d_ff", "model.n_layers", "model.mixer.headdim", "model.repeat_term", SHARE,
    "training.epochs", "training.patience", "training.schedule", "training.loss",
)  # fmt: skip
_REFIT: Final = "training.refit"
_TRANSFER: Final = (
    "model.item_vectors=id+text,model.max_length=200,model.d_model=32,model.d_ff=128,model.n_layers=1,"
    f"model.repeat_term=false,{_SMALL_BATCHES}"
)
"""The length is said, too: a recipe's depends on the data, and one model is trained on both."""


def _share(text: str) -> float:
    share = number(text)
    if not 0 < share <= 1:
        raise value_refused(text, "a share of the users: above 0, at most 1")
    return share


_SHARES: Final = several(_share, ", such as 0.1,1")


@dataclass(frozen=True, kw_only=True)
class Settings(NamedStudy, RecommenderStudy):
    """Train recommenders of several widths and depths on several amounts of data, and fit laws of their test loss."""

    PACKAGE: ClassVar[str] = "scaling_study"

    dataset: DatasetName = GENERATED
    models: PlannedModels = ("sasrec", "2mamba4rec")
    widths: Annotated[
        tuple[int, ...], Flag("values of d_model, multiples of 8, separated by commas", whole_numbers(8), planned=True)
    ] = (8, 16, 32)
    depths: Annotated[
        tuple[int, ...], Flag("numbers of layers, separated by commas", whole_numbers(1), planned=True)
    ] = (1, 2, 3)
    shares: Annotated[
        tuple[float, ...],
        Flag("shares of the users to train on, separated by commas", _SHARES, planned=True),
    ] = (0.05, 0.15, 0.4, 1.0)
    epochs: Annotated[
        int,
        Flag(
            f"of a training on all users; on a share of them 1 / sqrt(share) as many, at most {_MOST} times",
            whole_number(1),
            planned=True,
        ),
    ] = 12
    seeds: PlannedSeeds = (0, 1, 2)
    overrides: Annotated[
        str, Flag("changes to the recipe that all trainings share, such as model.dropout=0.1", planned=True)
    ] = _SMALL_BATCHES

    pretrain_on: Annotated[
        str, Flag("data set with titles to pre-train on, a published or a generated one, such as ml-1m")
    ] = OTHER_WORDS
    pretrain_source: Annotated[
        str, Flag("address of its archive or events instead of the official one, as --source", input_addresses)
    ] = ""
    pretrain_version: Annotated[str, Flag("state of its files when the run started; empty: found out")] = ""
    fine_tune_on: Annotated[
        str, Flag("data set with titles to fine-tune on, a published or a generated one, such as ml-100k")
    ] = WORDS
    fine_tune_source: Annotated[str, Flag("address of its archive or events, in the same way", input_addresses)] = ""
    fine_tune_version: Annotated[str, Flag("state of its files when the run started; empty: found out")] = ""
    transfer_model: Annotated[
        str, Flag(f"recommender to pre-train and fine-tune, of {', '.join(MODELS)}", one_of(MODELS))
    ] = "sasrec"
    transfer_overrides: Annotated[
        str, Flag("changes to its recipe, of pre-training, of fine-tuning and of training from scratch")
    ] = _TRANSFER
    transfer_shares: Annotated[
        tuple[float, ...], Flag("shares of the users to fine-tune on, separated by commas", _SHARES, planned=True)
    ] = (0.01, 0.05, 0.2, 1.0)
    transfer_seeds: PlannedSeeds = (0, 1, 2, 3)

    def lists(self) -> Lists:
        """Return the grid: each size and share with the first seed, and the small corner with all of them.

        The corner: the smallest depth, the narrower half of the widths, the smaller half of the shares. In addition
        each share and seed to fine-tune with. Raise InputError for overrides of the study's own, a width that is no
        multiple of 8, or own events to fine-tune on.
        """
        refuse_own_settings("--overrides", self.overrides, _OWN, "name sizes with --widths, --depths and --shares")
        no_refit = "a second training is neither in the FLOPs nor in the data that the report counts: leave it out"
        refuse_own_settings("--overrides", self.overrides, [_REFIT], no_refit)
        for flag, given in (("--shares", self.shares), ("--transfer-shares", self.transfer_shares)):
            if len({f"{share:g}" for share in given}) < len(given):
                raise InputError(
                    f"{flag} {','.join(map(str, given))}: two are the same to six digits; name one of them"
                )
        if odd := [width for width in self.widths if width % 8]:
            raise InputError(f"--widths {odd[0]}: not a multiple of 8; heads divide it")
        widths, depths, shares = sorted(self.widths), sorted(self.depths), sorted(self.shares)
        small = {
            (width, depths[0], share)
            for width in widths[: (len(widths) + 1) // 2]
            for share in shares[: (len(shares) + 1) // 2]
        }
        grid = itertools.product(self.models, widths, depths, shares)
        trainings = [
            {"model": model, "seed": seed, **self._told(model, width, depth, share)}
            for model, width, depth, share in grid
            for seed in (self.seeds if (width, depth, share) in small else self.seeds[:1])
        ]
        return {"trainings": trainings, "transfers": self._transfers()}

    def _transfers(self) -> list[dict[str, Any]]:
        for flag, dataset in (("--pretrain-on", self.pretrain_on), ("--fine-tune-on", self.fine_tune_on)):
            if dataset in (EVENTS, GENERATED):
                raise InputError(
                    f"{flag} {dataset}: name a published data set, or a generated one whose items have titles, such as "
                    f"{WORDS}; on data of your own, run train_recommender with --initial-model"
                )
            if not is_published(dataset):
                raise unknown_data_set(flag, dataset)
        if self.pretrain_on == self.fine_tune_on:
            raise InputError(
                f"--pretrain-on {self.pretrain_on}: is --fine-tune-on, too, whose users are tested; name another"
            )
        own = (SHARE, "training.epochs", "training.patience", "training.schedule", _REFIT)
        refuse_own_settings("--transfer-overrides", self.transfer_overrides, own, "set --transfer-shares and --epochs")
        if self._knows_ids_alone():
            raise InputError(
                f"--transfer-overrides {self.transfer_overrides}: without model.item_vectors=id+text (or text) nothing "
                "carries over to other items; your changes take the place of the default's, so name it, too"
            )
        return [
            {
                "seed": seed,
                "overrides": joined_overrides(self._schedule(share), self.transfer_overrides),
                "scratch": f"scratch-share{share:g}",
                "finetuned": f"finetuned-share{share:g}",
            }
            for share in sorted(self.transfer_shares)
            for seed in self.transfer_seeds
        ]

    def _knows_ids_alone(self) -> bool:
        """Return whether the model to pre-train has no words; False also of malformed changes, which are told later."""
        told = dict(pair.strip().partition("=")[::2] for pair in self.transfer_overrides.split(","))
        well_formed = all("." in name and value for name, value in told.items())
        return well_formed and told.get("model.item_vectors", "id") == "id"

    def _schedule(self, share: float) -> dict[str, object]:
        epochs = min(_MOST * self.epochs, round(self.epochs / share**0.5))
        own = {SHARE: f"{share:g}", "training.epochs": epochs, "training.patience": epochs}
        return own | {"training.schedule": "cosine"}  # profile paper's is constant

    def _told(self, model: str, width: int, depth: int, share: float) -> dict[str, Any]:
        # Before the width: each change is checked with those before it.
        heads: dict[str, object] = {"model.mixer.headdim": _HEADDIM} if model in _HEADED else {}
        own = heads | {
            "model.d_model": width,
            "model.d_ff": _D_FF * width,
            "model.n_layers": depth,
            "model.repeat_term": "false",
            **self._schedule(share),
        }
        label = f"width{width}-depth{depth}-share{share:g}"
        return {"overrides": joined_overrides(own, self.overrides), "label": label}

    @staticmethod
    def track(tracker: Tracker, rows: list[Row]) -> None:
        """Log what each law says, and how well the largest runs were predicted."""
        for row in rows:
            if row["kind"] == "law":
                tracker.metrics({f"{row['model']}/{row['form']}/{row['number']}": row["value"]})
            if row["kind"] == "largest":
                tracker.metrics({f"{row['model']}/{row['form']}/largest_within_interval": row["inside"] / row["runs"]})
