# Sourced with $venv set: defines pip, and installs torch where it is not there. An installed torch
# is kept. On a Linux machine without an NVIDIA GPU a CPU build is taken.
torch=torch==2.13.0
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
  echo "installing $torch; the longest part"
  if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && brings_gpu_packages; then
    pip install "$torch" --index-url https://download.pytorch.org/whl/cpu
  else
    pip install "$torch"
  fi
fi
