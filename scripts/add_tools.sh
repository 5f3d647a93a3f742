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
# Both releases of BFCL, v3 of August and June, one beside the other, and what bfcl-eval's own runner
# imports first.
echo 'installing BFCL, v3 and v4'
{
  pip install --no-deps bfcl-eval==2026.3.23
  pip install --no-deps --upgrade --target "$venv/bfcl-v3" bfcl-eval==2025.8.5
  pip install --no-deps --upgrade --target "$venv/bfcl-v3-june" bfcl-eval==2025.6.14
  pip install --no-deps tree_sitter==0.21.3 tree-sitter-java==0.21.0 tree-sitter-javascript==0.21.4 tenacity
} || echo 'no BFCL, or a part of it; its tests skip' >&2
# Packages in folders of their own, which take all else from the environment that they lie in.
beside() {
  local folder="$venv/$1"
  shift
  "$venv/bin/python" -m venv --without-pip "$folder"
  "$venv/bin/python" - "$folder" <<'PYTHON'
import sys, sysconfig
from pathlib import Path

beside = sysconfig.get_path("purelib")
inside = sysconfig.get_path("purelib", vars={"base": sys.argv[1]})
Path(inside, "beside.pth").write_text(f"import site; site.addsitedir({beside!r})\n")
PYTHON
  pip --python "$folder/bin/python" install --no-compile --no-warn-conflicts "$@"
}
# Its web interface wants an older pillow than matplotlib (170 MB).
echo 'installing openenv, whose servers are tests'
beside openenv 'openenv>=0.10' || echo 'no openenv; its tests skip' >&2
# Tests want a run without them, too.
echo 'installing what metrics are sent to, and bitsandbytes'
beside reporters tensorboard wandb trackio bitsandbytes ||
  echo 'not all of tensorboard, wandb, trackio and bitsandbytes; their tests skip' >&2
touch "$venv/tools"
