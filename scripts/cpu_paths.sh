#!/usr/bin/env bash
# The tests with stored numbers, on every path that the arithmetic of a CPU can take: PyTorch's own
# kernels without AVX-512 and without any vectors, MKL's matrix products with AVX2 and as on any
# CPU; each with 1 thread, the first and the last with 2 as well.
#   scripts/cpu_paths.sh [PYTHON]
set -uo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
mapfile -t files < <(grep -rl --include='test_*.py' stored_numbers tests)
failed=0
run() {  # threads, a path, pytest's options
  local threads=$1 path=$2
  shift 2
  echo "$path, threads: $threads"
  env "$path" OMP_NUM_THREADS="$threads" MKL_NUM_THREADS="$threads" "$python" -m pytest \
    -m stored_numbers --hypothesis-profile=quick -p no:cacheprovider --no-header "$@" "${files[@]}" ||
    failed=1
}
for path in ATEN_CPU_CAPABILITY=avx2 ATEN_CPU_CAPABILITY=default \
  MKL_ENABLE_INSTRUCTIONS=AVX2 MKL_CBWR=COMPATIBLE; do
  run 1 "$path" -n auto --dist worksteal
done
for path in ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=COMPATIBLE; do
  run 2 "$path"
done
exit $failed
