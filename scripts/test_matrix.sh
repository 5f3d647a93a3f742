#!/usr/bin/env bash
# Run the suite with the lowest and the newest versions that are supported, each in an environment
# of its own. TRL's trainer is subclassed, so one minor release of it is supported.
#   scripts/test_matrix.sh [FOLDER]        where the environments are made; .matrix by default
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.matrix}
lowest=(torch==2.11.0 transformers==5.9.0 trl==1.16.0)
newest=(torch==2.14.1 transformers==5.24.0 trl==1.16.0)

try() {
  local venv=$folder/$1
  shift
  [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/pip" install --quiet "$1"
  "$venv/bin/pip" install --quiet "$@" --editable '.[dev,lora,bfcl]'
  "$venv/bin/pip" install --quiet --no-deps qwen-agent mistral-common bfcl-eval==2026.3.23
  "$venv/bin/pip" freeze | grep -iE '^(torch|transformers|trl|accelerate|datasets|peft)=='
  OMP_NUM_THREADS=1 "$venv/bin/pytest" -n auto --dist worksteal
}

try lowest "${lowest[@]}"
try newest "${newest[@]}"
