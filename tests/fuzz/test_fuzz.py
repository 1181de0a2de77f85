"""Damaged inputs of every stage end in the right files or in one line: no traceback, no leftover, no NaN written.

A few hundred seeded cases belong to the ordinary tests. ``make fuzz CASES=5000 SEED=1`` runs as many as it is told to,
those of the language models' stages too. A case that fails is run again by the line that the failure shows.
"""

import os
from pathlib import Path

import pytest

from tests.fuzz.preparing import PREPARE, write_sources
from tests.fuzz.running import run_case
from tests.fuzz.targets import LANGUAGE_MODELS, RECOMMENDERS, Target, write_study

FEW = {
    "train_recommender": 12, "measure_latency": 8, "register_champion": 5, "report": 8, "report-optimizers": 4,
    "report-long-histories": 4, "report-reproduction": 8,
}  # fmt: skip
"""Cases of the ordinary tests where a case takes most of a second; 20 of the others, 10 of each of prepare_data's."""

SLOW = {"report-optimizers": 0.3, "report-long-histories": 0.5, "report-rankers": 0.3, "finetune_llm": 0.5}
"""The weight of targets in ``make fuzz`` whose cases take longest; 1 of the others."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    write_sources(folder)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_study(folder, language_models=False)
    return folder


def faults(target: Target, first: int, count: int, study: Path, scratch: Path) -> list[str]:
    """Run cases and return what is wrong with how they ended."""
    outcomes = [run_case(target, seed, study, scratch) for seed in range(first, first + count)]
    return [f"{outcome.case}: {outcome.fault}" for outcome in outcomes if outcome.fault]


@pytest.mark.parametrize("target", PREPARE, ids=lambda target: target.name)
def test_damaged_sources(target: Target, sources: Path, tmp_path: Path) -> None:
    assert not faults(target, 1000, 10, sources, tmp_path / "case")


@pytest.mark.parametrize("target", RECOMMENDERS, ids=lambda target: target.name)
def test_damaged_files_between_stages(target: Target, study: Path, tmp_path: Path) -> None:
    assert not faults(target, 1000, FEW.get(target.name, 20), study, tmp_path / "case")


def _share(target: Target, cases: int) -> int:
    weights = {one.name: SLOW.get(one.name, 1.0) for one in (*PREPARE, *RECOMMENDERS, *LANGUAGE_MODELS)}
    return round(cases * weights[target.name] / sum(weights.values()))


@pytest.mark.fuzz
@pytest.mark.parametrize("target", [*PREPARE, *RECOMMENDERS, *LANGUAGE_MODELS], ids=lambda target: target.name)
def test_many(target: Target, sources: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    folder = sources
    if target.group != "prepare":
        folder = tmp_path_factory.getbasetemp() / "whole-study"
        if not folder.exists():
            write_study(folder, language_models=True)
    cases, seed = int(os.environ.get("CASES", "1000")), int(os.environ.get("SEED", "0"))
    found = faults(target, 10**6 * (seed + 1), _share(target, cases), folder, tmp_path / "case")
    assert not found, "\n".join(found)
