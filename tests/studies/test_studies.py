"""Every study's folder has what the report stage and the pipelines ask of it by name."""

import dataclasses
import inspect

import pytest

from ssm4rec.recipes import overrides
from ssm4rec.studies import STUDIES, module_of
from ssm4rec.studies.comparative.plan import Settings as Comparative
from ssm4rec.studies.optimizers.plan import Settings as Optimizers
from ssm4rec.studies.settings import StudySettings


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_is_three_modules(study: str) -> None:
    plan, files, report = (module_of(study, part) for part in ("plan", "study", "report"))
    assert issubclass(plan.Settings, StudySettings)
    assert dataclasses.is_dataclass(files.Files)
    assert list(inspect.signature(files.read_study).parameters) == ["files"]
    assert list(inspect.signature(report.make_report).parameters) == ["study"]


def test_trainings_are_told_names_of_today_and_the_user_is_warned_once(caplog: pytest.LogCaptureFixture) -> None:
    overrides._warn_of_name.cache_clear()
    told = Comparative(overrides="model.width=16,training.stretches=one", seeds=(0, 1)).arguments()
    entries = [entry for entries in told.values() if isinstance(entries, list) for entry in entries]
    given = [told["overrides"], *(entry["overrides"] for entry in entries if "overrides" in entry)]
    assert len(given) > 1
    assert all(pairs.endswith("model.d_model=16,training.crops=random") for pairs in given)
    assert [line.split(": ")[1].split(" is")[0] for line in caplog.messages] == ["width", "stretches"]
    sweep = Optimizers(overrides="training.epochs=1,model.width=16").arguments()
    assert sweep["overrides"] == "training.epochs=1,model.d_model=16"
    assert all("model.d_model=16" in entry["overrides"] for entry in sweep["trainings"])


def test_smoke_draws_users_unless_told_how_many() -> None:
    drawn = [
        Comparative(profile=profile, draw_users=users).arguments()["draw_users"]
        for profile, users in (("smoke", -1), ("smoke", 0), ("smoke", 70), ("quick", -1), ("quick", 70))
    ]
    assert drawn == [1_000, 0, 70, 0, 70]
    assert Comparative(profile="smoke").arguments()["draw_users"] == 1_000
