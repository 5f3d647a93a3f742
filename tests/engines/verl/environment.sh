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
torch=torch==2.13.0

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

brings_gpu_packages() {
  local report
  report=$(mktemp)
  pip install --dry-run --ignore-installed --report "$report" "$torch" >/dev/null 2>&1 || true
  grep -qi '"name": *"nvidia-' "$report"
  local found=$?
  rm -f "$report"
  return $found
}

if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
  if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && brings_gpu_packages; then
    pip install "$torch" --index-url https://download.pytorch.org/whl/cpu
  else
    pip install "$torch"
  fi
fi
pip install --editable "$root[verl]" pytest hypothesis
touch "$venv/installed"
