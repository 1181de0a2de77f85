"""What is installed: ``python -m ssm4rec --version`` names the version and the kernels that were found.

Images run it when they are built, and it answers an operator's first question of a running one.
"""

import argparse
import importlib.util
import sys

from ssm4rec import __version__


def main() -> None:
    """Answer from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ssm4rec",
        description="State-space recommenders. Every stage is a program: python -m ssm4rec.stages.NAME --help",
    )
    parser.add_argument("--version", action="store_true", help="name the version, and the kernels that were found")
    if not parser.parse_args().version:
        parser.print_help()
        return
    sys.stdout.write(f"ssm4rec {__version__}\n")
    for line in installed():
        sys.stdout.write(f"  {line}\n")


def installed() -> list[str]:
    """Return a line for torch and one for each operator that has a compiled kernel on some device."""
    if importlib.util.find_spec("torch") is None:
        return ["torch: not installed (prepare_data and report need none)"]
    import torch

    from ssm4rec.ops.backend import kernels

    found = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "no GPU"
    lines = [f"torch {torch.__version__}: {found}"]
    return lines + [
        f"{operator} on {kind}: {what}" for kind in ("cuda", "cpu") for operator, what in kernels(kind).items()
    ]


if __name__ == "__main__":
    main()
