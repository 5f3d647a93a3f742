#!/usr/bin/env bash
# Make the virtual environment and install the project in it, editable, with what training needs.
#   scripts/make_venv.sh .venv
# An installed torch is kept. On a Linux machine without an NVIDIA GPU a CPU build is taken.
set -euo pipefail
venv=$1
python=${PYTHON:-python3}

if [ ! -x "$venv/bin/python" ]; then
  if "$python" -c 'import torch' 2>/dev/null; then
    echo "making $venv, with the torch that is installed"
    "$python" -m venv --system-site-packages "$venv"
  else
    echo "making $venv"
    "$python" -m venv "$venv"
  fi
fi
. "$(dirname "$0")/install_torch.sh"
echo 'installing toolrest and what training needs: transformers, TRL, datasets, ..'
pip install --editable .
echo "$(du -sh "$venv" | cut -f1) in $venv; 'make test' adds the tests' tools"
touch "$venv/installed"
