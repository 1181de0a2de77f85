"""Joules from a tree of power zones as the kernel shows them, and from NVML as its reference describes it."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssm4rec.runtime import energy
from ssm4rec.runtime.energy import NOTHING, EnergyMeter, Spent, energy_meter

UNIT = 1e6 / 2**16
"""Microjoules a step of the counter, of most processors: 15.26."""
RANGE = int((2**32 - 1) * UNIT)
"""max_energy_range_uj of a counter of 32 bits, as the kernel's driver computes it."""

Zone = Callable[..., Path]


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/sys/class/powercap of a machine without zones."""
    folder = tmp_path / "class" / "powercap"
    folder.mkdir(parents=True)
    monkeypatch.setattr(energy, "POWERCAP", folder)
    return folder


@pytest.fixture
def zone(powercap: Path) -> Zone:
    """Return a function that registers a zone: its folder lies in its parent's, links to all lie side by side."""

    def register(identity: str, name: str, microjoules: int) -> Path:
        parts = identity.split(":")
        folders = [":".join(parts[:count]) for count in range(1, len(parts) + 1)]
        folder = powercap.parent.parent.joinpath("devices", *folders)
        for one in (folder.parent, folder):
            one.mkdir(parents=True, exist_ok=True)
            link = powercap / one.name
            if not link.exists():
                link.symlink_to(one)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{RANGE}\n")
        (folder / "energy_uj").write_text(f"{microjoules}\n")
        return folder / "energy_uj"

    return register


def spent(meter: EnergyMeter, change: Callable[[], object]) -> Spent:
    before = meter.read()
    change()
    return meter.read() - before


def test_packages_are_added_up_and_nothing_twice(zone: Zone) -> None:
    """Two packages with cores, graphics and memory below them, the whole board, and the first package once more."""
    packages = [zone("intel-rapl:0", "package-0", 5_000_000), zone("intel-rapl:a", "package-1-die-1", 7_000_000)]
    others = [
        zone("intel-rapl:0:0", "core", 1), zone("intel-rapl:0:1", "uncore", 1), zone("intel-rapl:0:2", "dram", 1),
        zone("intel-rapl:1", "psys", 1), zone("intel-rapl-mmio:0", "package-0", 5_000_000), zone("dtpm:0", "cpu", 1),
    ]  # fmt: skip
    with energy_meter() as meter:
        assert meter.packages_missing == ""

        def work() -> None:
            packages[0].write_text("8000000\n")
            packages[1].write_text("7500000\n")
            for other in others:
                other.write_text("90000000\n")

        found = spent(meter, work)
        assert found.package_joules == pytest.approx(3.5)
        assert found.gpu_joules is None
        assert spent(meter, lambda: None).package_joules == 0


def test_a_counter_wraps(zone: Zone) -> None:
    counter = zone("intel-rapl:0", "package-0", RANGE - 2_000_000)
    with energy_meter() as meter:
        before = meter.read()
        for microjoules in (1_000_000, RANGE - 1, 500_000):  # twice over the range
            counter.write_text(f"{microjoules}\n")
            meter.read()
        # 3 J to 1 J after the start; a whole range less 1 J; 0.5 J. Less than one step is lost at each wrap.
        joules = (meter.read() - before).package_joules
        assert joules == pytest.approx(3 + (RANGE / 1e6 - 1) + 0.5, abs=3 * UNIT / 1e6)


def test_counters_are_read_so_often_that_none_wraps_unseen(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "_READ_EVERY", 0.01)
    counter = zone("intel-rapl:0", "package-0", 0)
    read = energy._number  # what reads a file, watched
    seen: list[int] = []

    def watched(path: Path) -> int:
        seen.append(number := read(path))
        return number

    monkeypatch.setattr(energy, "_number", watched)
    with energy_meter() as meter:
        before = meter.read()
        for microjoules in (RANGE - 1, 10):
            replacement = counter.with_suffix(".next")
            replacement.write_text(f"{microjoules}\n")
            replacement.replace(counter)
            while seen[-1] != microjoules:
                pass
        assert (meter.read() - before).package_joules == pytest.approx(RANGE / 1e6, abs=1e-3)


def test_without_counters_nothing_is_known(powercap: Path, zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", powercap / "nowhere")
    with energy_meter() as meter:
        found = meter.read()
        assert meter.packages_missing == "this machine shows no energy counter of its processor"
        assert (found.package_joules, found.gpu_joules) == (None, None)
    monkeypatch.setattr(energy, "POWERCAP", powercap)
    zone("intel-rapl:0", "psys", 1)
    with energy_meter() as meter:
        assert meter.packages_missing == "this machine shows no energy counter of its processor"


def test_with_one_package_that_cannot_be_read_none_counts(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    zone("intel-rapl:0", "package-0", 1)
    secret = zone("intel-rapl:1", "package-1", 1)
    secret.chmod(0)
    if os.geteuid() == 0:  # root may read what nobody may: the kernel's answer to others
        read = energy._number

        def refusing(path: Path) -> int:
            if path.resolve() == secret:
                raise PermissionError(13, "Permission denied")
            return read(path)

        monkeypatch.setattr(energy, "_number", refusing)
    with energy_meter() as meter:
        assert meter.packages_missing == "only root may read the processor's energy counter"
        assert meter.read().package_joules is None


def test_a_counter_that_fails_later_is_unknown_from_then_on(zone: Zone) -> None:
    counter = zone("intel-rapl:0", "package-0", 1)
    with energy_meter() as meter:
        before = meter.read()
        counter.unlink()  # the package went offline
        assert (meter.read() - before).package_joules is None
        counter.write_text("5\n")
        assert meter.read().package_joules is None


def test_what_is_not_known_of_a_part_is_not_known_of_the_sum() -> None:
    assert NOTHING + Spent(2.0, None, 3.0) == Spent(2.0, None, 3.0)
    assert Spent(5.0, 4.0, 3.0) - Spent(1.0, 1.0, None) == Spent(4.0, 3.0, None)
    assert Spent() + Spent(1.0, 1.0, 1.0) == Spent()


class _NVML(SimpleNamespace):
    """A driver with one GPU, as far as it is asked."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__(open=0, millijoules=123_456_789, lost=False)

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802 - NVML's name
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802 - NVML's name
        if uuid != "GPU-1":
            raise self.NVMLError("Not Found")
        return "handle of GPU-1"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802 - NVML's name
        if self.lost:
            raise self.NVMLError("GPU is lost")
        assert handle == "handle of GPU-1"
        return self.millijoules


@pytest.fixture
def nvml(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_NVML]:
    driver = _NVML()
    monkeypatch.setitem(sys.modules, "pynvml", driver)  # type: ignore[arg-type]
    yield driver
    assert driver.open == 0


def test_a_gpu_counts_millijoules(nvml: _NVML) -> None:
    with energy_meter("GPU-1") as meter:
        assert meter.gpu_missing == ""
        before = meter.read()
        nvml.millijoules += 2_500
        assert (meter.read() - before).gpu_joules == pytest.approx(2.5)
        nvml.lost = True
        assert meter.read().gpu_joules is None


def test_why_a_gpu_is_not_counted(nvml: _NVML, monkeypatch: pytest.MonkeyPatch) -> None:
    with energy_meter("GPU-2") as meter:
        assert meter.gpu_missing == "NVML: Not Found"
        assert meter.read().gpu_joules is None
    monkeypatch.setitem(sys.modules, "pynvml", None)  # type: ignore[arg-type]
    with energy_meter("GPU-1") as meter:
        assert meter.gpu_missing == "pynvml (package nvidia-ml-py) is not installed"
