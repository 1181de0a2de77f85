"""The stages in the form of a catalog of components: tables that are current, and metadata of the catalog's schema.

The rules are those of kubeflow/pipelines-components (docs/CONTRIBUTING.md, "metadata.yaml Schema", and
scripts/validate_metadata/validate_metadata.py): required fields, levels of stability, versions, a date with a time
zone, no other fields; unverified for 360 days is stale (scripts/check_component_freshness).
"""

import datetime
import shutil
from pathlib import Path

import pytest

import ssm4rec.stages.components
from pipelines.packages import STAGES
from pipelines.stage_forms import BEGIN, END, FOLDER, due, renewed, table, wrong

DAY = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
"""Of the newest lastVerified that is known here: the tests must pass in a year, too."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_its_form(stage: str) -> None:
    """If this fails for a table, run ``make compile``."""
    assert list(wrong(stage, FOLDER / stage, DAY)) == []


def test_every_component_is_exported_by_its_name() -> None:
    exported = {name for name in vars(ssm4rec.stages.components) if not name.startswith("_")}
    assert exported == set(STAGES)


def test_a_table_says_what_settings_py_says() -> None:
    lines = table("report").splitlines()
    assert "`from ssm4rec.stages.components import report`" in lines
    assert any(line.startswith("| `dataset` | Dataset, optional | ") for line in lines)
    assert any(line.startswith("| `evaluations` | list of Artifact, optional | ") for line in lines)
    assert any(line.startswith("| `latency` | Artifact, optional | ") for line in lines)
    assert any(line.startswith("| `report_html` | HTML | ") for line in lines)
    assert all(line.count(" | ") == 2 and not line.endswith("|  |") for line in lines if line.startswith("| `"))


def test_a_table_is_renewed_in_its_place_and_once() -> None:
    first = renewed("# evaluate\n\nText.\n", "evaluate")
    assert first == f"# evaluate\n\nText.\n\n{table('evaluate')}\n"
    stale = first.replace("| `split` |", "| `spilt` |") + "\n## After\n"
    assert renewed(stale, "evaluate") == first + "\n## After\n"
    assert (first.count(BEGIN), first.count(END)) == (1, 1)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("name: evaluate", "name: evaluated", "metadata.yaml: name: evaluated, in the folder of evaluate"),
        ("stability: beta", "stability: fine", "metadata.yaml: stability: Input should be 'experimental', 'alpha'"),
        ("name: Pipelines", "name: Trainer", "metadata.yaml: dependencies.kubeflow: no Pipelines"),
        ('">=2.17.0"', '">=2.17"', "metadata.yaml: dependencies.kubeflow.0.version: String should match"),
        ("2026-11-28T00:00:00Z", "2026-11-28", "metadata.yaml: lastVerified: Input should"),
        ("2026-11-28T00:00:00Z", "2025-11-28T00:00:00Z", "lastVerified: 2025-11-28, a year ago; run its tests"),
        ("tags:", "tag:", "metadata.yaml: tag: Extra inputs are not permitted"),
        ("tags:", "tags: [", "metadata.yaml: while parsing"),
    ],
)
def test_wrong_metadata_are_named(tmp_path: Path, old: str, new: str, line: str) -> None:
    shutil.copytree(FOLDER / "evaluate", tmp_path / "evaluate", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "evaluate" / "metadata.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    (found,) = wrong("evaluate", tmp_path / "evaluate", DAY)
    assert line in found


def test_missing_files_and_stale_tables_are_named(tmp_path: Path) -> None:
    shutil.copytree(FOLDER / "evaluate", tmp_path / "evaluate", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "evaluate" / "metadata.yaml").unlink()
    readme = tmp_path / "evaluate" / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8").replace("| `split` |", "| `spilt` |"), encoding="utf-8")
    stale, missing = wrong("evaluate", tmp_path / "evaluate", DAY)
    assert "README.md: its table is not what settings.py says; run make compile" in stale
    assert "metadata.yaml" in missing
    assert "No such file" in missing


def test_a_stage_is_due_before_it_is_stale() -> None:
    assert not due(FOLDER / "evaluate", DAY + datetime.timedelta(days=270))
    later = DAY + datetime.timedelta(days=300)
    assert due(FOLDER / "evaluate", later)
    assert list(wrong("evaluate", FOLDER / "evaluate", later)) == []
