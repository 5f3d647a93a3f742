#!/usr/bin/env bash
# Make the virtual environment and install the project in it, editable, with its tools.
# An installed torch is kept. On a Linux machine without an NVIDIA GPU a CPU build is taken.
set -euo pipefail
venv=$1
python=${PYTHON:-python3}

if [ ! -x "$venv/bin/python" ]; then
  if "$python" -c 'import torch' 2>/dev/null; then
    "$python" -m venv --system-site-packages "$venv"
  else
    "$python" -m venv "$venv"
  fi
fi
. "$(dirname "$0")/install_torch.sh"
pip install --editable '.[dev,lora,bfcl]'
# Tests read real vocabularies and gold answers from these packages' data files, and skip without them.
pip install --no-deps qwen-agent mistral-common ||
  echo 'no real vocabularies; their tests skip' >&2
# Both releases of BFCL, one beside the other, and what bfcl-eval's own runner imports first.
{
  pip install --no-deps bfcl-eval==2026.3.23
  pip install --no-deps --upgrade --target "$venv/bfcl-v3" bfcl-eval==2025.8.5
  pip install --no-deps tree_sitter==0.21.3 tree-sitter-java==0.21.0 tree-sitter-javascript==0.21.4 tenacity
} || echo 'no BFCL, or a part of it; its tests skip' >&2
touch "$venv/installed"
