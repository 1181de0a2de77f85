"""The tables of the report, in Markdown."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.report.markdown import escape, setting_cell, table, table_of
from ssm4rec.report.paper import PaperTable
from ssm4rec.report.recommenders import Recommenders

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
    """Return how each training went, a row a model and seed."""
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
        "CPU seconds": lambda one: f"{one.training['cpu_seconds']:,.1f}",
    }
    return table_of(recommenders.trainings, columns, text_columns=4)


def flattened(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a recipe's settings by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
