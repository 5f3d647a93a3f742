#!/usr/bin/env bash
# Make the environment that the tests of the verl engine run in: verl wants a transformers older than
# the newest, which the TRL engine is tested with, so it has one of its own.
#   tests/engines/verl/environment.sh .venv-verl
#   OMP_NUM_THREADS=1 .venv-verl/bin/python -m pytest tests/engines/verl
# An installed torch is kept. On a Linux machine without an NVIDIA GPU a CPU build is taken.
set -euo pipefail
venv=$1
root=$(cd "$(dirname "$0")/../../.." && pwd)
python=${PYTHON:-python3}

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
. "$root/scripts/install_torch.sh"
pip install --editable "$root[verl]" pytest pytest-xdist hypothesis
touch "$venv/installed"
