"""Energy from the counters that a machine keeps: of all its processor packages, and of one NVIDIA GPU.

Both count whole parts of the machine, whatever ran on them: on a busy machine other work is in the joules.

Processor packages (Linux, Intel and AMD: RAPL). ``/sys/class/powercap`` lists power zones as ``<control type>:<id>``
and, below them, ``<control type>:<id>:<id>``; a zone's ``energy_uj`` counts microjoules, ``max_energy_range_uj`` is its
range (Linux, Documentation/ABI/testing/sysfs-class-powercap; ids are hexadecimal: drivers/powercap/powercap_sys.c).
Added up are the zones named ``package-N``, or ``package-N-die-M``, at the top of ``intel-rapl``, the driver's name with
AMD, too (drivers/powercap/intel_rapl_common.c). Zones below are parts of a package, or its memory, which the package
does not count; ``psys`` is the whole board with its packages; ``intel-rapl-mmio`` shows the same packages again. Since
Linux 5.10 only root may read ``energy_uj``; virtual machines and Docker's containers usually show none.

GPU: NVML's nvmlDeviceGetTotalEnergyConsumption, millijoules since the driver was loaded, of Volta and later (NVML API
reference, device queries), through ``pynvml`` (package nvidia-ml-py) where that is there; readings of a few
milliseconds are rough, for it is renewed every 20 to 100 ms. ``torch.cuda.power_draw`` needs ``pynvml``, too, and knows
the present power only.
"""

import importlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ssm4rec.runtime.errors import reason

POWERCAP: Final = Path("/sys/class/powercap")

_PACKAGE_ZONE: Final = re.compile(r"intel-rapl:[0-9a-f]+")

_READ_EVERY: Final = 30.0
"""Seconds. A counter of 32 bits in units of 15 microjoules wraps after 66 kJ: at 1 kW after 66 s."""

_NO_ZONE: Final = "this machine shows no energy counter of its processor"
_ROOT_ONLY: Final = "only root may read the processor's energy counter"


@dataclass(frozen=True)
class Spent:
    """Time on the wall, and energy; None: not known. What is not known of one part is not known of a sum."""

    seconds: float | None = None
    package_joules: float | None = None
    gpu_joules: float | None = None

    def __add__(self, other: "Spent") -> "Spent":
        return self._each(other, lambda ours, theirs: ours + theirs)

    def __sub__(self, other: "Spent") -> "Spent":
        return self._each(other, lambda ours, theirs: ours - theirs)

    def _each(self, other: "Spent", operation: Callable[[float, float], float]) -> "Spent":
        pairs = (
            (self.seconds, other.seconds),
            (self.package_joules, other.package_joules),
            (self.gpu_joules, other.gpu_joules),
        )
        return Spent(*(None if a is None or b is None else operation(a, b) for a, b in pairs))


NOTHING: Final = Spent(0.0, 0.0, 0.0)


class EnergyMeter:
    """Reads the counters; ``energy_meter`` makes one.

    Attributes:
        packages_missing, gpu_missing: why the energy of the packages or of the GPU is not known; "" where it is.
    """

    def __init__(self, packages: "_Packages | str", gpu: Callable[[], float | None] | str) -> None:
        self._packages, self._gpu = packages, gpu
        self._lock = threading.Lock()
        self.packages_missing = packages if isinstance(packages, str) else ""
        self.gpu_missing = gpu if isinstance(gpu, str) else ""

    def read(self) -> Spent:
        """Return seconds and joules since some moment: what was spent is the difference of two readings."""
        with self._lock:
            package_joules = None if isinstance(self._packages, str) else self._packages.joules()
        return Spent(time.monotonic(), package_joules, None if isinstance(self._gpu, str) else self._gpu())


NOT_METERED: Final = EnergyMeter("nobody asked", "nobody asked")
"""For a measurement of time alone."""


@contextmanager
def energy_meter(gpu_uuid: str | None = None) -> Iterator[EnergyMeter]:
    """Yield a meter of this machine's packages and of the GPU with that UUID, ``None``: of none.

    The packages' counters are also read every half a minute, so that none wraps unseen.
    """
    with ExitStack() as stack:
        gpu = "none was used" if gpu_uuid is None else _open_gpu(gpu_uuid, stack)
        packages = _open_packages(POWERCAP)
        meter = EnergyMeter(packages, gpu)
        if not isinstance(packages, str):
            done = threading.Event()

            def watch() -> None:
                while not done.wait(_READ_EVERY):
                    meter.read()

            thread = threading.Thread(target=watch, name="energy", daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(done.set)
        yield meter


class _Packages:
    """The counters of all packages, and how far each has come since it was first read."""

    def __init__(self, zones: list[Path]) -> None:
        self._ranges = {zone: _number(zone / "max_energy_range_uj") for zone in zones}
        if not all(self._ranges.values()):
            raise ValueError("max_energy_range_uj is 0")
        self._last = {zone: _number(zone / "energy_uj") for zone in zones}
        self._counted: int | None = 0  # microjoules; None once a counter could no longer be read

    def joules(self) -> float | None:
        """Return the joules of all packages together since the counters were first read."""
        try:
            now = {zone: _number(zone / "energy_uj") for zone in self._last}
        except (OSError, ValueError):
            self._counted = None
        if self._counted is None:
            return None
        # A counter that reaches its range wraps to 0.
        self._counted += sum((now[zone] - last) % self._ranges[zone] for zone, last in self._last.items())
        self._last = now
        return 1e-6 * self._counted


def _open_packages(powercap: Path) -> _Packages | str:
    """Return the packages' counters, or why there are none: with one that cannot be read none of them counts."""
    try:
        zones = [
            zone
            for zone in sorted(powercap.iterdir())
            if _PACKAGE_ZONE.fullmatch(zone.name) and (zone / "name").read_text("ascii").startswith("package-")
        ]
        return _Packages(zones) if zones else _NO_ZONE
    except FileNotFoundError:
        return _NO_ZONE
    except PermissionError:
        return _ROOT_ONLY
    except (OSError, ValueError) as error:
        return f"the processor's energy counter gave an error: {reason(error)}"


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


def _open_gpu(uuid: str, stack: ExitStack) -> Callable[[], float | None] | str:
    """Return what reads a GPU's joules, None after an error, or why nothing does; ``stack`` closes NVML."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return "pynvml (package nvidia-ml-py) is not installed"
    try:
        nvml.nvmlInit()
        stack.callback(nvml.nvmlShutdown)
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError as error:
        return f"NVML: {reason(error)}"

    def joules() -> float | None:
        try:
            return 1e-3 * float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        except nvml.NVMLError:
            return None

    return joules
