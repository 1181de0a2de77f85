"""A stage that runs or ran on this machine: its command line, and what a person calls it."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssm4rec.artifacts.manifest import run_name
from ssm4rec.artifacts.names import GENERATOR, LEAVE_ONE_OUT, MANIFEST, MODEL_CONFIG, RANKER
from ssm4rec.runtime.files import read_json


@dataclass
class StageProcess:
    """A stage that runs or ran: its command line, where it logs, how it ended, and a problem that was not its own."""

    command: list[str]
    logs: Path
    number: int
    returncode: int = -1
    problem: str = ""

    def flag(self, name: str) -> str:
        """Return the value given to a flag of the command, '' if it has no such flag."""
        return self.command[self.command.index(name) + 1] if name in self.command else ""

    @property
    def module(self) -> str:
        """The stage's module, such as ``ssm4rec.stages.evaluate``."""
        return self.command[2]

    @property
    def stage(self) -> str:
        """The stage's name, such as ``evaluate``."""
        return self.module.rpartition(".")[2]

    @property
    def training(self) -> tuple[str, str]:
        """The model and the seed that the stage is about, ('', '') if it is about neither."""
        if self.flag("--model"):
            return self.flag("--model"), self.flag("--seed")
        if trained := self._description("--model-dir", MODEL_CONFIG) or self._description("--generator-dir", GENERATOR):
            return trained["model"], str(trained["seed"])
        ranker = self._ranker
        return (re.split("[:/]", ranker["source"])[-1], str(ranker["seed"])) if ranker else ("", "")

    @property
    def variant(self) -> list[str]:
        """What tells tasks of one stage apart that are about the same model and seed.

        The label of their training, which its study gave it; of an evaluation whether it is of the validation split; of
        what a ranker writes whether it is aligned, or trained on the winners alone; last, how the data are split, where
        that is not leave-one-out.
        """
        config, ranker = self._description("--model-dir", MODEL_CONFIG), self._ranker
        label = self.flag("--label") or config.get("label", "") or ranker.get("label", "")
        aligned = self.flag("--aligned-dir") or ranker.get("stage") == "align_llm"
        control = self.flag("--winners-alone").lower() == "true" or ranker.get("winners_alone")
        part = "winners" if control else "aligned" if aligned else "finetuned" if ranker else ""
        if self.flag("--split") == "validation":
            part = "validation"
        splitting = "" if self._splitting == LEAVE_ONE_OUT else self._splitting
        return [name for name in (part, label, splitting) if name]

    @property
    def _splitting(self) -> str:
        """How the data are split that a stage of recommenders writes or reads; of other stages it is not asked."""
        if self.stage == "prepare_data":
            return self.flag("--splitting")
        if self.stage not in ("train_recommender", "evaluate", "compare_models"):
            return LEAVE_ONE_OUT
        manifest = self._description("--dataset-dir", MANIFEST)
        return str(manifest["split"]["name"]) if manifest else LEAVE_ONE_OUT

    @property
    def _ranker(self) -> dict[str, Any]:
        return self._description("--aligned-dir", RANKER) or self._description("--adapter-dir", RANKER)

    def _description(self, flag: str, name: str) -> dict[str, Any]:
        path = Path(self.flag(flag)) / name
        document: dict[str, Any] = read_json(path) if self.flag(flag) and path.exists() else {}
        return document

    @functools.cached_property
    def label(self) -> str:
        """What the user calls the stage, such as ``evaluate sasrec seed 0``."""
        model, seed = self.training
        return " ".join([self.stage, *([model, "seed", seed] if model else []), *self.variant])

    @property
    def tracked_name(self) -> str:
        """What the stage's tracked run is called from its start: as the stage itself will, should it live so long."""
        config, manifest = self._description("--model-dir", MODEL_CONFIG), self._description("--dataset-dir", MANIFEST)
        of_validation = "validation" if self.flag("--split") == "validation" else ""
        what = {"train_recommender": "train", "evaluate": of_validation}.get(self.stage)
        if what is None or not manifest or not all(self.training):
            return self.label
        model, seed = self.training
        return run_name(model, manifest, int(seed), what, self.flag("--label") or config.get("label", ""))

    @property
    def log(self) -> Path:
        """The file of the stage's output."""
        return self.logs / f"{self.number:02d}-{self.label.replace(' ', '-')}.log"
