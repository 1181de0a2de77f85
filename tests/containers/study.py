"""Studies in containers, as ``make run RUNNER=docker`` runs them."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.containers.servers import wait

STAGE_USER = 12345
"""Owner of the studies' folders, and so whom the stages run as: known to nobody, in the image and on the machine."""

STUDY = ("--llm", "none", "--latency-samples", "5", "--latency-users", "100", "--latency-batches", "1,64")
"""The CPU image has no language models; the 300 users of the data are fewer than a sample has."""


@dataclass(frozen=True)
class Done:
    """How a run of a study's command ended."""

    returncode: int
    stdout: str
    stderr: str

    def stages(self, event: str) -> set[str]:
        """Return the stages that the command said have ``started``, or are ``done``."""
        return set(re.findall(rf"^\[.*?\] (.*): {event}(?:,.*)?$", self.stdout, re.MULTILINE))


class Running:
    """The command while it runs."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stdout, stderr=stderr)

    def wait_for(self, text: str) -> None:
        """Wait until the command has printed something."""
        wait(lambda: text in self._stdout.read_text(), 300, f"never printed: {text}")

    def finish(self) -> Done:
        """Wait for its end."""
        code = self._process.wait(timeout=900)
        return Done(code, self._stdout.read_text(), self._stderr.read_text())


@dataclass(frozen=True)
class Study:
    """A study in containers: the command ``python -m pipelines.run --runner docker`` and a folder of its own.

    Attributes:
        folder: given to ``--out``.
        environment: of the command.
        flags: of the command.
    """

    folder: Path
    environment: dict[str, str]
    flags: tuple[str, ...]

    def start(self) -> Running:
        """Start the command, the same every time."""
        flags = ["--runner", "docker", "--out", str(self.folder), "--profile", "smoke", *STUDY, *self.flags]
        return Running([sys.executable, "-m", "pipelines.run", *flags], self.environment, self.folder.parent)

    def run(self) -> Done:
        """Run the command to its end."""
        return self.start().finish()

    def results(self) -> list[dict[str, Any]]:
        """Return the rows of results.json but for costs, which no two runs share."""
        found: list[dict[str, Any]] = json.loads((self.folder / "results.json").read_text())
        return [row for row in found if "_seconds" not in row["metric"]]


@dataclass(frozen=True)
class Studies:
    """Makes studies whose events lie in the object store.

    Attributes:
        environment: of their commands.
        source: address of the events.
        events: as a CSV file.
    """

    environment: dict[str, str]
    source: str
    events: bytes

    def make(self, folder: Path, *flags: str, **variables: str) -> Study:
        """Return a study in a folder that is made; ``variables`` are further ones of its environment."""
        folder.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            os.chown(folder, STAGE_USER, STAGE_USER)
        flags = ("--dataset", "events", "--source", self.source, "--format", "csv", *flags)
        return Study(folder, {**self.environment, **variables}, flags)
