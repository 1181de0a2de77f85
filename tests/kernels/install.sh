#!/usr/bin/env bash
# Install what `make test-kernels` runs, once: install.sh FOLDER PYTHON. Exit status 1: it cannot be had.
# A folder on PYTHONPATH rather than an environment: torch and the project are the environment's own.
set -euo pipefail
folder=$1 python=$2
[ ! -e "$folder/.installed" ] || exit 0
rm -rf "$folder"
get() {
    "$python" -m pip --disable-pip-version-check install --quiet --target "$folder" --no-deps "$@"
}
# wheel: mamba-ssm's setup.py imports it. Its Python is wanted, without the CUDA modules.
{
    get triton==3.7.1 einops==0.8.2 wheel==0.48.0 \
        && PYTHONPATH=$folder MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE \
            get --no-build-isolation --constraint images/constraints.txt mamba-ssm
} >"$folder.log" 2>&1 || exit 1
rm -f "$folder.log"
touch "$folder/.installed"
