"""Writes lists of the sha256 of every file that a pin may be installed from in an image.

``constraints.hashes.txt`` is for the pins of ``constraints.txt`` and of the Dockerfiles, and
``serve/requirements.hashes.txt`` for those of ``serve/requirements.txt``. ``make hashes``, or ``python
images/hashes.py`` with pip and packaging at hand, asks the package index that pip is configured for, one page per pin;
do so after each change of a pin. ``hashes.py serve/requirements.hashes.txt`` writes that one alone. Listed are wheels
for CPython 3.11 to 3.13 on Linux, and the source archive of a pin that lacks a wheel for one of those.
"""

import json
import re
import ssl
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

IMAGES: Final = Path(__file__).resolve().parent
HEADER: Final = """\
# Written by images/hashes.py (`make hashes`), not by hand: sha256, as the package index publishes it, of the files that
# the pins of {} may be installed from. images/lock.py reads it in a build.
"""
PYTHONS: Final = {11, 12, 13}
_WHEELS: Final = re.compile(
    r"(py3|py2\.py3|cp31[123]|cp3(\d|1[0-3])-abi3).*-(any|(many)?linux[\w.]*_(x86_64|aarch64))\.whl"
)


def lists() -> dict[str, tuple[str, dict[str, str]]]:
    """Return, by the file to write, what the pins are of, and the version of each package."""
    serving = _versions((IMAGES / "serve" / "requirements.txt").read_text())
    return {
        "constraints.hashes.txt": ("constraints.txt and of the Dockerfiles", pins()),
        "serve/requirements.hashes.txt": ("serve/requirements.txt", serving),
    }


def pins() -> dict[str, str]:
    """Return the version of every package that constraints.txt or a Dockerfile pins."""
    dockerfiles = (
        path.read_text().replace("ARG PIP_VERSION=", "pip==") for path in sorted(IMAGES.glob("*/Dockerfile"))
    )
    return _versions((IMAGES / "constraints.txt").read_text(), *dockerfiles)


def _versions(*texts: str) -> dict[str, str]:
    return dict(sorted(pair for text in texts for pair in re.findall(r"(?m)\b([a-z0-9-]+)==(\d[\w.]*)", text)))


def usable(filename: str, version: str) -> str:
    """Return ``wheel`` or ``source`` for a file of that version that an image could use, else nothing."""
    try:
        if filename.endswith(".whl"):
            _, found, _, _ = parse_wheel_filename(filename)
            return "wheel" if found == Version(version) and _WHEELS.search(filename) else ""
        _, found = parse_sdist_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return ""
    return "source" if found == Version(version) else ""


def pythons(wheel: str) -> set[int]:
    """Return the minor versions of Python 3 that a wheel is for on x86_64."""
    *_, python, abi, platform = wheel.removesuffix(".whl").split("-")
    if platform != "any" and "x86_64" not in platform:
        return set()
    minor = int(python.removeprefix("cp3")) if python.startswith("cp3") else 0
    return {one for one in PYTHONS if one == minor or (one >= minor and (abi == "abi3" or not minor))}


def published(page: dict[str, Any], name: str, version: str) -> list[str]:
    """Return the sha256 of a version's usable files on an index page (PEP 691), sorted."""
    found = {file["filename"]: file["hashes"]["sha256"] for file in page["files"]}
    wheels = {file for file in found if usable(file, version) == "wheel"}
    sources = {file for file in found if usable(file, version) == "source"}
    if set().union(*map(pythons, wheels)) == PYTHONS:
        sources.clear()
    elif sources:
        sys.stdout.write(f"from source for a part of the Pythons: {name}=={version}\n")
    if not wheels | sources:
        raise SystemExit(f"images/hashes.py: the index has no file of {name}=={version} for an image; correct the pin")
    return sorted(found[file] for file in wheels | sources)


def setting(name: str) -> str:
    """Return a setting of pip's, from its variables or files, or nothing."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.check_output(command, text=True).splitlines()
    pairs = [(key.rpartition(".")[2], value[1:-1]) for key, _, value in (line.partition("=") for line in lines)]
    return dict(reversed(pairs)).get(name, "")  # variables come first in pip's list, and hold before its files


def main() -> None:
    """Ask the index and write the files."""
    from pip._internal.models.index import PyPI

    context = ssl.create_default_context(cafile=setting("cert") or None)
    address = (setting("index-url") or PyPI.simple_url).rstrip("/")

    def block(pin: tuple[str, str]) -> str:
        name, version = pin
        kind = {"Accept": "application/vnd.pypi.simple.v1+json"}
        request = urllib.request.Request(f"{address}/{name}/", headers=kind)  # noqa: S310 - the index that pip is set to
        with urllib.request.urlopen(request, timeout=60, context=context) as page:  # noqa: S310
            hashes = published(json.load(page), name, version)
        return " \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{one}" for one in hashes)]) + "\n"

    for target, (source, versions) in lists().items():
        if target in (sys.argv[1:] or lists()):
            with ThreadPoolExecutor(4) as pool:
                lines = [HEADER.format(source), *pool.map(block, versions.items())]
            (IMAGES / target).write_text("".join(lines))
            sys.stdout.write(f"wrote {target}: {len(lines) - 1} pins\n")


if __name__ == "__main__":
    main()
