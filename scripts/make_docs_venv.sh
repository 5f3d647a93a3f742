#!/usr/bin/env bash
# Make the environment that the site is built in: the packages of pyproject's extra `docs` alone, since the
# site reads the source and imports nothing of it.
#   scripts/make_docs_venv.sh .venv-docs
set -euo pipefail
venv=$1
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" - "$root/pyproject.toml" >"$venv/requirements.txt" <<'PYTHON'
import sys, tomllib

with open(sys.argv[1], "rb") as file:
    print(*tomllib.load(file)["project"]["optional-dependencies"]["docs"], sep="\n")
PYTHON
"$venv/bin/python" -m pip --disable-pip-version-check --quiet install --requirement "$venv/requirements.txt"
touch "$venv/installed"
