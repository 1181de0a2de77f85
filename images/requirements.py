"""Prints what pyproject.toml requires, for ``pip install -r``: ``requirements.py dependencies data train``."""

import sys
import tomllib
from pathlib import Path


def main() -> None:
    """Print the requirements of the lists named on the command line."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
    for name in sys.argv[1:]:
        if name not in lists:
            sys.exit(f"images/requirements.py: pyproject.toml has no list {name}; it has {', '.join(lists)}")
        sys.stdout.writelines(f"{requirement}\n" for requirement in lists[name])


if __name__ == "__main__":
    main()
