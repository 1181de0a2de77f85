"""A model that becomes a new version of a registered model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mlflow import MlflowClient

LONGEST_WAIT: Final = 30
"""Seconds for a registry to take a model; MLflow would wait for minutes."""


@dataclass
class Registration:
    """An MLflow model's folder to register as a version, with a description in Markdown, and what became of it.

    Attributes:
        name: of the registered model, which is made if it is new.
        takes_over: whether the version gets the alias, and why; it is given the tags of the one that has it, or None.
        outcome: in words; final when the tracked run has ended.
    """

    name: str
    folder: Path
    description: str
    tags: dict[str, str]
    alias: str
    takes_over: Callable[[dict[str, str] | None], tuple[bool, str]]
    outcome: str = "not registered: nothing is tracked"

    def record(self, client: "MlflowClient", run_id: str) -> None:
        """Make the version of what the run has of the folder."""
        if not client.search_registered_models(f"name = '{self.name}'"):
            client.create_registered_model(self.name)
        run = client.get_run(run_id)
        source = f"{run.info.artifact_uri}/{self.folder.name}"
        study = run.data.tags.get("mlflow.parentRunId", run_id)
        page = f"#/experiments/{run.info.experiment_id}/runs/{study}/artifacts?workflowType=machine_learning"
        version = client.create_model_version(
            self.name,
            source,
            run_id,
            self.tags,
            description=f"{self.description}\n\n[The study and its report]({page})",
            await_creation_for=LONGEST_WAIT,
        ).version
        holder = client.get_registered_model(self.name).aliases.get(self.alias)
        taken, why = self.takes_over(None if holder is None else client.get_model_version(self.name, holder).tags)
        if taken:
            client.set_registered_model_alias(self.name, self.alias, version)
        place = f"models:/{self.name}@{self.alias}" if taken else f"without the alias {self.alias}"
        self.outcome = f"registered as {self.name} version {version}, {place}: {why}"
