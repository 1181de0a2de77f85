"""The tables of the report, in Markdown."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.names import UNMASKED
from ssm4rec.report.markdown import MISSING, escape, setting_cell, table, table_of
from ssm4rec.report.paper import PaperTable
from ssm4rec.report.recommenders import Recommenders

ENERGY: Final = {
    "package": "energy of the whole processor packages (RAPL; memory is not in it)",
    "gpu": "energy of the whole GPU (NVML)",
}
"""What is counted as energy, by the beginning of the fields' names."""
ENERGY_NAMES: Final = {"package": "packages", "gpu": "GPU"}

_COUNTED: Final = ("users", "items", "interactions")


def data_counts(manifest: dict[str, Any], paper: PaperTable | None) -> str:
    """Return users, items and interactions in both countings, beside Table 4 where the paper has the data set."""
    counts = {
        "Plain count": manifest["counts"],
        "As RecBole counts (+1 for padding)": manifest["recbole_counts"],
        **({"Paper, Table 4": asdict(paper.counts)} if paper else {}),
    }
    rows = [[noun.capitalize(), *(f"{counted[noun]:,}" for counted in counts.values())] for noun in _COUNTED]
    return table(["", *counts], rows)


def filters(manifest: dict[str, Any]) -> str:
    """Return what each filter left, in the order of their application."""
    titles = [title for noun in _COUNTED for title in (f"{noun.capitalize()} before", "after")]
    rows = [
        [escape(step["filter"].replace("_", " ")), setting_cell(step["setting"])]
        + [f"{step[when][noun]:,}" for noun in _COUNTED for when in ("before", "after")]
        for step in manifest["filters"]
    ]
    return table(["Filter", "Setting", *titles], rows, text_columns=2)


def sources(manifest: dict[str, Any]) -> str:
    """Return where the data came from and whether its checksum was a known one."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "File": lambda source: escape(source["file"]),
        "Checksum": lambda source: setting_cell(source["checksum"]),
        "MD5": lambda source: setting_cell(source["md5"]),
        "Address": lambda source: escape(source["address"]),
        "Bytes": lambda source: setting_cell(source["bytes"]),
    }
    return table_of(manifest["sources"], columns, text_columns=4)


def key_values(title: str, settings: dict[str, Any]) -> str:
    """Return a JSON object as a table of two columns."""
    rows = [[escape(key.replace("_", " ")), setting_cell(value)] for key, value in settings.items()]
    return table([title, "Value"], rows, text_columns=2)


def recipes(recommenders: Recommenders, *, shared: bool) -> str:
    """Return the settings that all models share, or those in which they differ; empty when there are none."""
    flat = {model: flattened(summary.recipe) for model, summary in recommenders.models.items()}
    rows = []
    for name in dict.fromkeys(name for settings in flat.values() for name in settings):
        values = [setting_cell(settings.get(name)) for settings in flat.values()]
        if (len(set(values)) == 1) == shared:
            rows.append([escape(name), *(values[:1] if shared else values)])
    header = ["Setting", "All models"] if shared else ["Setting", *map(escape, flat)]
    return table(header, rows, text_columns=len(header)) if rows else ""


def recipe_tables(recommenders: Recommenders, differing: str) -> list[str]:
    """Return the tables of settings with their headings: those that differ, then those that all share."""
    headings = ((differing, False), ("What they share", True))
    found = {f"### {title}": recipes(recommenders, shared=shared) for title, shared in headings}
    return [part for title, table in found.items() if table for part in (title, table)]


def trainings(recommenders: Recommenders) -> str:
    """Return how each training went, what it cost and how good its model is: one row per model and seed."""
    devices = {one.training["device"] for one in recommenders.trainings}
    unit = "CPU-s" if devices == {"cpu"} else "GPU-s" if "cpu" not in devices else "CPU-s or GPU-s"
    stopped = {"epochs": "end of epochs", "patience": "no improvement"}
    columns: dict[str, Callable[[EvaluationSummary], str]] = {
        "Model": lambda one: escape(one.model),
        "Device": lambda one: escape(one.training["device"]),
        "Profile": lambda one: escape(one.profile),
        "Stopped by": lambda one: stopped.get(one.training["stopped"], escape(one.training["stopped"])),
        "Seed": lambda one: f"{one.seed}",
        "Epochs": lambda one: f"{one.training['epochs']:,}",
        "Best epoch": lambda one: f"{one.training['best_epoch']:,}",
        "Validation NDCG@10": lambda one: f"{one.training['validation_ndcg@10']:.4f}",
        f"{recommenders.split.capitalize()} NDCG@10": lambda one: f"{_ndcg(one):.4f}",
        unit: lambda one: _amount(device_seconds(one.training)),
        f"{unit} per epoch": lambda one: _amount(device_seconds(one.training), _epochs(one)),
    }
    notes = [
        "NDCG@10 is with the history unmasked. What a training cost counts its validation after each epoch, and the "
        "second training of `training.refit`: CPU-s are seconds that its process and all its threads were on a CPU, "
        "GPU-s seconds on the clock times the number of GPUs."
    ]
    for what, counted in ENERGY.items():
        if any(f"{what}_joules" in one.training for one in recommenders.trainings):
            heading = f"kJ, {ENERGY_NAMES[what]}"
            columns[heading] = _kilojoules(f"{what}_joules")
            notes.append(f"{heading}: {counted} during the training, whatever else ran on it.")
    return f"{table_of(recommenders.trainings, columns, text_columns=4)}\n\n{' '.join(notes)}"


def _ndcg(evaluation: EvaluationSummary) -> float:
    wanted = (evaluation.model, UNMASKED, "ndcg@10")
    return next(row.value for row in evaluation.rows if (row.model, row.protocol, row.metric) == wanted)


def _epochs(evaluation: EvaluationSummary) -> int:
    """Return how many epochs were trained, those of ``training.refit`` too."""
    again = evaluation.training["best_epoch"] if evaluation.recipe["training"].get("refit") else 0
    return int(evaluation.training["epochs"]) + int(again)


def device_seconds(training: dict[str, Any]) -> float | None:
    """Return CPU-seconds, or GPU-seconds where a GPU trained; None if an earlier version did not write them."""
    if training["device"] == "cpu":
        return float(training["cpu_seconds"])
    return training["seconds"] * training.get("processes", 1) if "seconds" in training else None


def _kilojoules(name: str) -> Callable[[EvaluationSummary], str]:
    return lambda one: _amount(one.training.get(name), 1000)


def _amount(value: float | None, parts: int = 1) -> str:
    """Return a part of a number with three digits, or that it is not known."""
    if value is None:
        return MISSING
    share = value / parts
    return f"{share:,.0f}" if share >= 100 else f"{share:,.1f}" if share >= 10 else f"{share:.2f}"


def flattened(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a recipe's settings by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
