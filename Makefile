# make train: the embedded default run. make test: every check. Both install first when needed.
#   make train ARGS="max_steps=5 weighting.scheme=uniform"
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: train test lint benchmark
train: $(VENV)/installed
	$(BIN)/toolrest train $(ARGS)

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

benchmark: $(VENV)/installed
	$(BIN)/python benchmarks/weighting.py
	$(BIN)/python benchmarks/rewards.py
	$(BIN)/python benchmarks/rollout.py
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/bfcl.py
	$(BIN)/python benchmarks/step.py

$(VENV)/installed: pyproject.toml scripts/make_venv.sh
	scripts/make_venv.sh $(VENV)
