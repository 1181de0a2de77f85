"""A model that becomes a new version of a registered model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from mlflow import MlflowClient

LONGEST_WAIT: Final = 30
"""Seconds for a registry to take a model; MLflow would wait for minutes."""

_TRAINING_PAGES: Final = "workflowType=machine_learning"


@dataclass
class Registration:
    """An MLflow model's folder to register as a version, with a description in Markdown, and what became of it.

    Attributes:
        name: of the registered model, which is made if it is new.
        takes_over: whether the version gets the alias, and why; it is given the tags of the one that has it, or None.
        outcome: in words; like ``version`` and ``taken`` final when the tracked run has ended.
        version: "" until there is one.
        taken: whether the version has the alias.
    """

    name: str
    folder: Path
    description: str
    tags: dict[str, str]
    alias: str
    takes_over: Callable[[dict[str, str] | None], tuple[bool, str]]
    outcome: str = "not registered: nothing is tracked"
    version: str = ""
    taken: bool = False

    def record(self, client: "MlflowClient", run_id: str) -> None:
        """Make the version of what the run has of the folder."""
        if not client.search_registered_models(f"name = '{self.name}'"):
            client.create_registered_model(self.name)
        run = client.get_run(run_id)
        source = f"{run.info.artifact_uri}/{self.folder.name}"
        study = run.data.tags.get("mlflow.parentRunId", run_id)
        pages = _Pages(client, run.info.experiment_id, study, self.tags)
        metrics = f"Metrics: {pages.of('validation', 'train')}, {pages.of('test', 'evaluate')}"
        version = client.create_model_version(
            self.name,
            source,
            run_id,
            self.tags,
            description=f"{self.description}\n\n{metrics}; [the study and its report]({pages.study})",
            await_creation_for=LONGEST_WAIT,
        ).version
        holder = client.get_registered_model(self.name).aliases.get(self.alias)
        taken, why = self.takes_over(None if holder is None else client.get_model_version(self.name, holder).tags)
        if taken:
            client.set_registered_model_alias(self.name, self.alias, version)
        self.version, self.taken = str(version), taken
        place = f"models:/{self.name}@{self.alias}" if taken else f"without the alias {self.alias}"
        self.outcome = f"registered as {self.name} version {version}, {place}: {why}"


@dataclass
class _Pages:
    """MLflow's pages of a study's runs about the model of these tags."""

    client: "MlflowClient"
    experiment_id: str
    run_id: str
    tags: Mapping[str, str]

    @property
    def study(self) -> str:
        """The page of the study's files."""
        return f"#/experiments/{self.experiment_id}/runs/{self.run_id}/artifacts?{_TRAINING_PAGES}"

    def of(self, split: str, stage: str) -> str:
        """Return a link to the run with the metrics of a split, or, before there is one, to the search for it."""
        wanted = {"mlflow.parentRunId": self.run_id, "stage": stage, "splitting": self.tags["split"]}
        wanted |= {name: self.tags[name] for name in ("model", "seed", "profile")}
        wanted |= {"split": split} if stage == "evaluate" else {}
        search = " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
        page = f"#/experiments/{self.experiment_id}/runs"
        if found := self.client.search_runs([self.experiment_id], search, max_results=1):
            return f"[{split}]({page}/{found[0].info.run_id}?{_TRAINING_PAGES})"
        return f"[{split}]({page}?{_TRAINING_PAGES}&searchFilter={quote(search)})"
