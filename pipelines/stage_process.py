"""A stage that runs or ran on this machine: its command line, and what a person calls it."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssm4rec.contracts import GENERATOR, LEAVE_ONE_OUT, MANIFEST, MODEL_CONFIG, RANKER, SCALE_SETTINGS
from ssm4rec.files import read_json
from ssm4rec.llm.adapter_sweep import SETTINGS as ADAPTER_SETTINGS


@dataclass
class StageProcess:
    """A stage that runs or ran: its command line, where it logs, how it ended, and a problem that was not its own.

    ``pipeline`` is the name of the pipeline that it is a part of.
    """

    command: list[str]
    logs: Path
    number: int
    pipeline: str = ""
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
    def training(self) -> tuple[str, str]:
        """The model and the seed that the stage is about, ('', '') if it is about neither."""
        if self.flag("--model"):
            return self.flag("--model"), self.flag("--seed")
        for flag, name in (("--model-dir", MODEL_CONFIG), ("--generator-dir", GENERATOR)):
            document = self._description(flag, name)
            if document:
                return document["model"], str(document["seed"])
        ranker = self._ranker
        return (re.split("[:/]", ranker["source"])[-1], str(ranker["seed"])) if ranker else ("", "")

    @property
    def variant(self) -> list[str]:
        """What tells tasks of one stage apart that are about the same model and seed.

        In a study of optimizers which one, its scale and the batch control; in a long-history study the window; in a
        reproduction study the recipe; of an evaluation whether it is of the validation split; of what a ranker writes
        whether it is aligned. Last, how the data are split, where that is not leave-one-out.
        """
        return [*self._variant, *([] if self._splitting == LEAVE_ONE_OUT else [self._splitting])]

    @property
    def _splitting(self) -> str:
        """How the data are split that a stage of recommenders writes or reads; of other stages it is not asked."""
        stage = self.module.rpartition(".")[2]
        if stage == "prepare_data":
            return self.flag("--split")
        if stage not in ("train_recommender", "evaluate", "compare_models"):
            return LEAVE_ONE_OUT
        manifest = self._description("--dataset-dir", MANIFEST)
        return str(manifest["split"]["name"]) if manifest else LEAVE_ONE_OUT

    @property
    def _variant(self) -> list[str]:
        if self.flag("--aligned-dir"):
            return ["aligned"]
        if self._ranker:
            return ["aligned" if self._ranker["stage"] == "align_llm" else "finetuned", *self._optimizer]
        if self.flag("--split") == "validation":
            return ["validation"]
        if self.pipeline == "reproduction-study":
            return self._recipe
        if self.pipeline == "long-history-study" and (window := self._window(self._overrides)):
            return [f"window{window}"]
        return self._optimizer

    @property
    def _recipe(self) -> list[str]:
        """Profile and repeat term of a training or evaluation of a reproduction study, [] of any other stage."""
        config = self._description("--model-dir", MODEL_CONFIG)
        profile = self.flag("--profile") or config.get("profile", "")
        told = self._overrides.get("model.repeat_term", "")
        has_term = told == "true" if told else bool(config and config["recipe"]["model"]["repeat_term"])
        return [profile, "repeat-term" if has_term else "no-repeat-term"] if profile else []

    @property
    def _optimizer(self) -> list[str]:
        """Optimizer, its scale and the batch control that a study of optimizers set by overrides, [] elsewhere."""
        overrides = self._overrides
        for section, scales, further in (
            ("training.", SCALE_SETTINGS, ["batch_control"]),
            ("finetune.steps.", ADAPTER_SETTINGS, []),
        ):
            optimizer = overrides.get(f"{section}optimizer", "")
            chosen = [f"{section}{name}" for name in (scales.get(optimizer), *further)]
            if all(name in overrides for name in chosen):
                return [optimizer, *(overrides[name] for name in chosen)]
        return []

    @property
    def _overrides(self) -> dict[str, str]:
        """The changes to the recipe that a training is told, by name."""
        return dict(pair.partition("=")[::2] for pair in self.flag("--overrides").split(","))

    def _window(self, overrides: dict[str, str]) -> str:
        """Return the longest history of a training or evaluation that shows all stretches, "" for any other."""
        if overrides.get("training.stretches") == "all":
            return overrides.get("model.maximum_length", "")
        recipe = self._description("--model-dir", MODEL_CONFIG).get("recipe", {})
        shows_all = recipe.get("training", {}).get("stretches") == "all"
        return str(recipe["model"]["maximum_length"]) if shows_all else ""

    @property
    def _ranker(self) -> dict[str, Any]:
        """The description of the ranker that the stage writes or reads, {} without one."""
        return self._description("--aligned-dir", RANKER) or self._description("--adapter-dir", RANKER)

    def _description(self, flag: str, name: str) -> dict[str, Any]:
        """Return a JSON file of a folder given to a flag, {} if there is none."""
        path = Path(self.flag(flag)) / name
        document: dict[str, Any] = read_json(path) if self.flag(flag) and path.exists() else {}
        return document

    @functools.cached_property
    def label(self) -> str:
        """What the user calls the stage, such as ``evaluate sasrec seed 0``."""
        model, seed = self.training
        stage = self.module.rpartition(".")[2]
        return " ".join([stage, *([model, "seed", seed] if model else []), *self.variant])

    @property
    def log(self) -> Path:
        """The file of the stage's output."""
        return self.logs / f"{self.number:02d}-{self.label.replace(' ', '-')}.log"
