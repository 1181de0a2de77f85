"""Limits the CUDA kernels of mamba-ssm and causal-conv1d to some GPU architectures: ``... SETUP.PY 80 90``.

Both name nine in their ``setup.py``, with no option to choose; all nine take hours to compile. Each stands there as two
lines, ``cc_flag.append("-gencode")`` and ``cc_flag.append("arch=compute_80,code=sm_80")``. Of an architecture that is
not wanted ``pass`` remains, since some are alone in their ``if``.
"""

import ast
import re
import sys
from pathlib import Path

PAIR = re.compile(r'cc_flag\.append\("-gencode"\)\n\s*cc_flag\.append\("arch=compute_(\d+),code=sm_\1"\)')


def main() -> None:
    """Rewrite the file, or fail: a build for the wrong GPUs would show only when a kernel is first called."""
    path, wanted = Path(sys.argv[1]), sys.argv[2:]
    text = path.read_text(encoding="utf-8")
    found = PAIR.findall(text)
    if missing := sorted(set(wanted) - set(found)):
        sys.exit(f"{path}: has {', '.join(found) or 'no'} sm architectures, not {', '.join(missing)}; read it again")
    limited = PAIR.sub(lambda pair: pair[0] if pair[1] in wanted else "pass", text)
    ast.parse(limited)
    if limited.count("-gencode") != len(wanted):
        sys.exit(f"{path}: names architectures in a second way, too; read it again")
    path.write_text(limited, encoding="utf-8")


if __name__ == "__main__":
    main()
