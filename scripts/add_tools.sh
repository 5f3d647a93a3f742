#!/usr/bin/env bash
# Add to the project's environment what its tests need: about as much again.
#   scripts/add_tools.sh .venv
set -euo pipefail
venv=$1
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }
echo "installing the tests' tools: pytest, ruff, pyright, a browser's driver, .."
pip install --editable '.[dev,lora,bfcl]'
# Tests read real vocabularies and gold answers from these packages' data files, and skip without them.
pip install --no-deps qwen-agent mistral-common ||
  echo 'no real vocabularies; their tests skip' >&2
# Both releases of BFCL, one beside the other, and what bfcl-eval's own runner imports first.
echo 'installing BFCL, v3 and v4'
{
  pip install --no-deps bfcl-eval==2026.3.23
  pip install --no-deps --upgrade --target "$venv/bfcl-v3" bfcl-eval==2025.8.5
  pip install --no-deps tree_sitter==0.21.3 tree-sitter-java==0.21.0 tree-sitter-javascript==0.21.4 tenacity
} || echo 'no BFCL, or a part of it; its tests skip' >&2
touch "$venv/tools"
