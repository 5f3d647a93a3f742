#!/usr/bin/env bash
# The tests with stored numbers, on every path that the arithmetic of a CPU can take: PyTorch's own
# kernels without AVX-512 and without any vectors, MKL's matrix products with AVX2 and as on any
# CPU; each with 1 thread, the first and the last with 2 as well.
#   scripts/cpu_paths.sh [PYTHON]
set -uo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
mapfile -t files < <(grep -rl --include='test_*.py' stored_numbers tests)
said=$(mktemp -d)
trap 'rm -r "$said"' EXIT
failed=0
run() {  # threads, a path
  env "$2" OMP_NUM_THREADS="$1" MKL_NUM_THREADS="$1" "$python" -m pytest \
    -m stored_numbers --hypothesis-profile=quick -p no:cacheprovider --no-header "${files[@]}" \
    >"$said/$2" 2>&1
}
tell() {  # threads, a path, whether it passed
  echo "$2, threads: $1"
  cat "$said/$2"
  [ "$3" = 0 ] || failed=1
}
# Two paths side by side, since half of what one takes are imports, which no second process spares.
together() {  # threads, a path, another
  run "$1" "$2" &
  local begun=$!
  run "$1" "$3"
  tell "$1" "$3" $?
  wait "$begun"
  tell "$1" "$2" $?
}
together 1 ATEN_CPU_CAPABILITY=avx2 ATEN_CPU_CAPABILITY=default
together 1 MKL_ENABLE_INSTRUCTIONS=AVX2 MKL_CBWR=COMPATIBLE
together 2 ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=COMPATIBLE
exit $failed
