"""Every study's folder has what the report stage and the pipelines ask of it by name."""

import dataclasses
import inspect

import pytest

from ssm4rec.studies import STUDIES, module_of
from ssm4rec.studies.settings import StudySettings


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_is_three_modules(study: str) -> None:
    plan, files, report = (module_of(study, part) for part in ("plan", "study", "report"))
    assert issubclass(plan.Settings, StudySettings)
    assert dataclasses.is_dataclass(files.Files)
    assert list(inspect.signature(files.read_study).parameters) == ["files"]
    assert list(inspect.signature(report.make_report).parameters) == ["study"]
