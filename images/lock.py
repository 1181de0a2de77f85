"""Prints a list for ``pip install --require-hashes --no-deps``: ``lock.py CHOSEN HASHES [NAME ...]``.

It runs in a build, with Python's standard library alone. CHOSEN: what pip would install (the file of
``pip install --dry-run --report``), or a list of names, with or without ==VERSION. HASHES:
``constraints.hashes.txt``. The names that follow may be of a file that HASHES does not know, such as a build of torch
for CPUs from another index or from images/machine: its hash is the one that it has now, and that is said on stderr.
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


def known(path: Path) -> dict[str, list[str]]:
    """Return the hashes by NAME==VERSION."""
    found: dict[str, list[str]] = {}
    for block in path.read_text().replace("\\\n", " ").splitlines():
        if block and not block.startswith("#"):
            pin, *hashes = block.split()
            found[pin] = hashes
    return found


def chosen(path: Path, hashes: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Return what is to be installed by NAME==VERSION; the values say where each file is, as far as that is known."""
    text = path.read_text()
    if path.suffix != ".json":
        pinned = {pin.partition("==")[0]: pin for pin in hashes}
        return {line if "==" in line else pinned.get(line, line): {} for line in text.split()}
    return {
        f"{re.sub('[-_.]+', '-', one['metadata']['name']).lower()}=={one['metadata']['version']}": one["download_info"]
        for one in json.loads(text)["install"]
    }


def present_hash(file: dict[str, Any]) -> str:
    """Return the hash of a file as the index gives it, or of a local one as it is."""
    address = urlsplit(file["url"])
    if address.scheme == "file":
        return f"--hash=sha256:{hashlib.sha256(Path(unquote(address.path)).read_bytes()).hexdigest()}"
    return f"--hash=sha256:{file['archive_info']['hashes']['sha256']}"


def main() -> None:
    """Print the list; name what has no hash, and end with status 1."""
    hashes, exempt = known(Path(sys.argv[2])), sys.argv[3:]
    files = chosen(Path(sys.argv[1]), hashes)
    missing = [pin for pin in files if pin not in hashes and pin.partition("==")[0] not in exempt]
    if missing:
        sys.exit(f"lock.py: no hash of {', '.join(missing)} in {sys.argv[2]}; pin it and run `make hashes`")
    for pin, file in files.items():
        if pin not in hashes:
            sys.stderr.write(f"WARNING: {pin} is not among the published hashes: taken as it is at {file['url']}\n")
        print(pin, *(hashes.get(pin) or [present_hash(file)]))


if __name__ == "__main__":
    main()
