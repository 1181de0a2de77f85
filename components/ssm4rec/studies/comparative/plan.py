"""What the comparative study trains."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from ssm4rec.artifacts.names import GENERATORS, LEAVE_ONE_OUT, ORDER_CHECKED, PAPER_RECOMMENDERS
from ssm4rec.data.data_sets import is_published
from ssm4rec.data.event_order import RECBOLE
from ssm4rec.models.table import MODELS
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import listed, one_of, whole_number
from ssm4rec.settings.data import PreparedData
from ssm4rec.settings.flags import Flag
from ssm4rec.settings.shared import LanguageModelVersion, Ranker
from ssm4rec.studies.settings import Lists, NamedStudy, PlannedModels, PlannedSeeds, RecommenderStudy, Row, track_means
from ssm4rec.tracking import Tracker

LLM_PARTS = ("none", "llamarec", "all")
_QUICK_GLOBAL_TIME = "training.patience=6"
"""What profile quick changes in the global-time trainings, before the user's own changes: it is to take minutes.
On ML-100K, seed 0, the weights kept are those of the profile's own patience of 10."""


@dataclass(frozen=True, kw_only=True)
class Settings(NamedStudy, RecommenderStudy, PreparedData):
    """Compare recommenders and language models on one data set."""

    PACKAGE: ClassVar[str] = "comparative_study"
    SUMMARY: ClassVar[str] = "table"

    models: PlannedModels = PAPER_RECOMMENDERS
    llm: Annotated[
        str, Flag("language models: none, the ranker (llamarec), or all", one_of(LLM_PARTS), planned=True)
    ] = "all"
    language_model: Annotated[
        str, Flag("of the ranker: wheel:, a folder, s3:// or a hub id; empty: the profile's", planned=True)
    ] = ""
    retriever: Annotated[
        str, Flag(f"recommender whose candidates it ranks, of {', '.join(MODELS)}", one_of(MODELS), planned=True)
    ] = "lrurec"
    ranker: Ranker = "auto"
    seeds: PlannedSeeds = (0,)
    global_time: Annotated[
        str,
        Flag(
            "models to train once more, split by global-time; none; or auto: "
            f"{' and '.join(ORDER_CHECKED)}, where a leave-one-out study of a published data set trains them",
            planned=True,
        ),
    ] = "auto"
    overrides: Annotated[str, Flag("changes to the recommenders' recipes, such as training.epochs=3")] = ""
    llm_overrides: Annotated[str, Flag("changes to the ranker's recipe, such as finetune.prompts=500")] = ""
    generator_overrides: Annotated[str, Flag("changes to the generators' recipe, such as training.epochs=3")] = ""
    language_model_version: LanguageModelVersion = ""
    replace_champion: Annotated[
        bool, Flag("let the best model take the alias champion from one of other data or another split, too")
    ] = False
    item_index: Annotated[
        bool, Flag("give the champion an approximate index of its items, if they are 50,000 or more")
    ] = False
    latency_samples: Annotated[int, Flag("timed for each recommender; 0: 30 (paper, best) or 10", whole_number(0))] = 0
    latency_users: Annotated[
        int, Flag("of each sample, drawn for it; 0: 1,500 (paper, best) or 64", whole_number(0))
    ] = 0
    latency_batches: Annotated[
        str, Flag("users per request, separated by commas; empty: 1,64,256 (paper, best) or 1,64")
    ] = ""

    def arguments(self) -> dict[str, Any]:
        """Return the pipeline's arguments; the paper's 30 samples of 1,500 users, or fewer where a study is small."""
        samples, users, batches = (30, 1500, "1,64,256") if self.profile in ("paper", "best") else (10, 64, "1,64")
        return {
            **super().arguments(),
            "latency_samples": self.latency_samples or samples,
            "latency_users": self.latency_users or users,
            "latency_batches": self.latency_batches or batches,
        }

    def lists(self) -> Lists:
        """Return what to train; of language models, which take long, the first seed alone."""
        first = self.seeds[0]
        ranker = {"language_model": self.language_model, "retriever": self.retriever, "seed": first}
        return {
            "trainings": [{"model": model, "seed": seed} for model in self.models for seed in self.seeds],
            "global_time_trainings": self._trained_again(),
            "rankers": [ranker] if self.llm != "none" else [],
            "generators": [{"model": name, "seed": first} for name in GENERATORS] if self.llm == "all" else [],
        }

    def _trained_again(self) -> list[dict[str, Any]]:
        """Return the trainings of the second split, of one seed; raise InputError if a model cannot be trained there.

        Left to itself, only where it cannot fail the study: a published data set has times, own events may not.
        """
        again = [] if self.global_time == "none" else listed(self.global_time)
        if again == ["auto"]:
            known = is_published(self.dataset) and {*ORDER_CHECKED} <= {*self.models}
            possible = known and self.splitting == LEAVE_ONE_OUT and self.event_order != RECBOLE
            again = list(ORDER_CHECKED) if possible else []
        for name in again:
            if again.count(name) > 1:
                raise InputError(f"--global-time {self.global_time}: names {name} twice")
            if name not in self.models:
                raise InputError(
                    f"--global-time {name}: not in the study; choose from --models {','.join(self.models)}"
                )
        if again and self.splitting != LEAVE_ONE_OUT:
            raise InputError(f"--global-time {self.global_time}: the study's own --splitting is it; leave it out")
        if again and self.time_unit == "order":
            raise InputError(f"--global-time {self.global_time}: --time-unit order gives no times to split by")
        if again and self.event_order == RECBOLE:
            raise InputError(f"--global-time {self.global_time}: --event-order recbole rounds the times to split by")
        shorter = _QUICK_GLOBAL_TIME if self.profile in ("quick", "llm-small") else ""
        overrides = ",".join(filter(None, (shorter, self.overrides)))
        return [{"model": model, "seed": self.seeds[0], "overrides": overrides} for model in again]

    @staticmethod
    def track(tracker: Tracker, rows: list[Row]) -> None:
        """Log the mean of every model's metrics over its seeds. A second split's are named so."""
        values = []
        for row in rows:
            split = "" if row["splitting"] == rows[0]["splitting"] else f"{row['splitting']}/"
            values.append((f"{split}{row['model']}/{row['protocol']}/{row['metric']}", row["value"]))
        track_means(tracker, values)
