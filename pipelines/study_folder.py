"""The folder of a study on this machine: what a person finds there, and its copy in a bucket.

``report.html``, ``report.md`` and ``results.json``; links (``_PLACES``) into ``artifacts/``, where the stages wrote,
named after model, seed and what else distinguishes a task, with the extensions that KFP leaves out; ``logs/``, a folder
for each run, by its time, with a file per stage that it started; ``checkpoints/``, ``downloads/`` and ``cache/``, from
which the same command resumes: ``cache/`` has a folder for each state of the code (``runners.py``), and what another
state finished is not reused.
"""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from pipelines.stage_process import StageProcess
from ssm4rec.artifacts.names import MASKED, OUTCOME, REPORT_HTML, REPORT_MARKDOWN, RESULTS, UNMASKED, in_table_order
from ssm4rec.artifacts.registration import RegistrationFacts
from ssm4rec.report.paper import PAPER
from ssm4rec.runtime.addresses import public_text
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import MARKER, read_json, write_json
from ssm4rec.runtime.object_store import upload

_KEPT_HERE = ("checkpoints", "downloads", "cache", MARKER)
"""What goes to no bucket: it matters to this machine only."""

_PLACES: Final = {
    "prepare_data": {"--dataset-dir": "dataset-{}"},
    "train_recommender": {"--model-dir": "models/{}/*", "--curve": "models/{}/curve.parquet"},
    "train_generator": {"--generator-dir": "models/{}/*", "--curve": "models/{}/curve.parquet"},
    "evaluate": {
        "--metrics": "evaluations/{}/metrics.json",
        "--ranks": "evaluations/{}/ranks.parquet",
        "--candidates": "evaluations/{}/candidates.parquet",
    },
    "evaluate_generator": {
        "--metrics": "evaluations/{}/generation.json",
        "--lists": "evaluations/{}/lists.parquet",
    },
    "compare_models": {"--comparison": "comparison-{}.json"},
    "measure_latency": {"--summary": "latency.json", "--latency": "latency.parquet"},
    "register_champion": {"--champion-dir": "champion", "--registration": "registration.json"},
    "mine_preferences": {
        "--pairs": "language-models/pairs/pairs.parquet",
        "--counts": "language-models/pairs/counts.json",
    },
    "finetune_llm": {"--adapter-dir": "language-models/{}/*", "--curve": "language-models/{}/curve.parquet"},
    "align_llm": {"--aligned-dir": "language-models/{}/*", "--curve": "language-models/{}/curve.parquet"},
    "rank_candidates": {
        "--ranking": "language-models/{}-ranking/ranking.json",
        "--rankings": "language-models/{}-ranking/rankings.parquet",
    },
    "choose_settings": {"--trainings": "trainings.json"},
    "report": {"--figures": "figures"},
}
"""For each stage the flags of its outputs, and where the study's folder links them; {} is what the task is about, * all
files of a folder."""

_COMMAND: Final = "command.json"
"""Next to a stage's outputs: how they were made."""


@dataclass(frozen=True)
class StudyFolder:
    """Where a study's results come together.

    Attributes:
        path: the folder.
        store: s3://bucket/prefix that receives a copy, "" for none.
        say: shows a line to the user.
    """

    path: Path
    store: str
    say: Callable[[str], None]
    _links: set[Path] = field(default_factory=set)

    def receive(self, process: StageProcess) -> None:
        """Put what a stage wrote where a person looks for it, and into the store.

        A store that fails now may work later: it is asked again when the study is done (:meth:`store_all`).
        """
        written = self._link(process)
        write_json(written / _COMMAND, list(map(public_text, process.command)))
        if self.store:
            try:
                upload(_files(written), self.path, self.store)
            except InputError as error:
                self.say(f"{process.label}: not in the store yet, the study continues: {error}")

    def store_all(self) -> None:
        """Bring the store up to date with everything that belongs there.

        Raises:
            InputError: it takes no more; nothing is lost here.
        """
        if not self.store:
            return
        files = [path for path in _files(self.path) if path.relative_to(self.path).parts[0] not in _KEPT_HERE]
        try:
            upload(files, self.path, self.store)
        except InputError as error:
            raise InputError(
                f"--artifacts: {error}; the study is whole in {self.path}: make room, and the same command with "
                f"--out {self.path} stores it without repeating a stage"
            ) from None

    def results(self) -> list[dict[str, Any]]:
        """Return the rows of results.json, those of the study's own split first."""
        rows: list[dict[str, Any]] = json.loads((self.path / RESULTS).read_text(encoding="utf-8"))
        return rows

    def summary(self, form: str) -> str:
        """Return what is shown when the study is done.

        Args:
            form: ``table`` of means, and what became of the best; ``verdict``: the report's first section.
        """
        if form == "verdict":
            report = (self.path / REPORT_MARKDOWN).read_text(encoding="utf-8")
            return report.split("\n## ")[1].partition("\n")[2].strip()
        champion = self._champion()
        return self.table() + (f"\n\n{champion}" if champion else "")

    def _champion(self) -> str:
        """Return what became of the best model, in words; "" in a study that has none."""
        # kfp.local keeps what a stage says of its outputs next to them.
        written = (self.path / "champion").resolve().parent / "executor_output.json"
        try:
            (artifact,) = read_json(written)["artifacts"]["champion"]["artifacts"]
            return str(artifact["metadata"][OUTCOME])
        except (InputError, KeyError, TypeError, ValueError):
            return ""

    def table(self) -> str:
        """Return the study's means over seeds as text, a line per model."""
        values: dict[tuple[str, str, str], list[float]] = {}
        rows = self.results()
        for row in (row for row in rows if row["splitting"] == rows[0]["splitting"]):
            values.setdefault((row["model"], row["protocol"], row["metric"]), []).append(row["value"])
        unmasked = "history unmasked" + (" (the paper)" if rows[0]["dataset"] in PAPER else "")
        models = in_table_order({model for model, protocol, _ in values if protocol == UNMASKED})
        widest = max(14, *map(len, models))
        lines = [f"{'':{widest}}{unmasked:>32}{'history masked':>32}"]
        lines.append(f"{'model':{widest}}" + f"{'HIT@10':>12}{'NDCG@10':>10}{'MRR@10':>10}" * 2)
        for model in models:
            line = f"{model:{widest}}"
            for protocol in (UNMASKED, MASKED):
                for metric, width in (("hit@10", 12), ("ndcg@10", 10), ("mrr@10", 10)):
                    line += f"{fmean(values[model, protocol, metric]):{width}.4f}"
            lines.append(line)
        return "\n".join(lines)

    def find(self, written: Path) -> None:
        """Put what a stage of an earlier run wrote into a folder, and this one shares, where a person looks for it."""
        if (written / _COMMAND).exists():
            self._link(StageProcess(read_json(written / _COMMAND), self.path, 0))

    def unregistered(self, written: Path) -> bool:
        """Whether the stage that wrote into a folder found no MLflow that took its model."""
        if not (written / _COMMAND).exists():
            return False
        process = StageProcess(read_json(written / _COMMAND), self.path, 0)
        registration = Path(process.flag("--registration"))
        return (
            process.stage == "register_champion"
            and registration.is_file()
            and not RegistrationFacts.read(registration).version
        )

    def forget_earlier_runs(self) -> None:
        """Take away the links of earlier runs, which may have been about other models."""
        made = self.path / "artifacts"
        for place in {place for places in _PLACES.values() for place in places.values()}:
            for link in self.path.glob(place.replace("-{}", "*").replace("{}", "*")):
                ours = link.is_symlink() and link.parent.resolve() == link.parent  # not by way of a link of the user's
                if ours and link not in self._links and made in link.resolve().parents:
                    link.unlink()
                    for folder in link.relative_to(self.path).parents[:-1]:
                        with suppress(OSError):  # not empty
                            (self.path / folder).rmdir()

    def _link(self, process: StageProcess) -> Path:
        """Link or copy a stage's results; return the folder that the stage wrote to."""
        about = "-".join(filter(None, ["-seed".join(filter(None, process.training)), *process.variant]))
        for flag, place in _PLACES[process.stage].items():
            target = Path(process.flag(flag))
            link = self.path / place.replace("-{}", f"-{about}" if about else "").replace("{}", about)
            if link.name == "*":
                for one in target.glob("[!.]*"):
                    self._replace_link(link.with_name(one.name), one)
            else:
                self._replace_link(link, target)
        if process.stage == "report":
            shutil.copyfile(process.flag("--results"), self.path / RESULTS)
            shutil.copyfile(process.flag("--report-html"), self.path / REPORT_HTML)
            shutil.copyfile(process.flag("--report-markdown"), self.path / REPORT_MARKDOWN)
        return target.parent

    def _replace_link(self, link: Path, target: Path) -> None:
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.exists() and not link.is_symlink():
            self.say(f"{link}: not a link of this study, so it stays as it is; what would be linked there is {target}")
            return
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(target, link.parent))
        self._links.add(link)


def _files(folder: Path) -> list[Path]:
    """Return the files below a folder, without links: what they lead to is there under its own name."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
