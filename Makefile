# make train: the embedded default run. make test: every check. Both install first what they need.
#   make train ARGS="max_steps=5 weighting.scheme=uniform"
# make real DATA=FOLDER: a real pretrained model, from its weights to a table.
# make audit: whether a dependency has a known vulnerability; says so where nobody can be asked.
# make test-slow: the tests that take long: killed processes, real servers, whole matrices.
# make test-release: the rest of the matrices of which test-slow runs a few cases (tests/tiers.py),
#   and random tests with new examples, 500 of each.
# make test-cpus: the tests with stored numbers on every path of a CPU's arithmetic.
# make test-verl: the tests of the verl engine, in an environment of their own.
# make test-servers: vLLM and transformers' server against this process, in an environment of their own.
# make docs: the site, in site/, in an environment of its own (200 MB, without torch).
VENV := .venv
VENV_VERL := .venv-verl
VENV_VLLM := .venv-vllm
VENV_DOCS := .venv-docs
BIN := $(VENV)/bin
ARGS ?=
# Python keeps what it has compiled: tests start hundreds of processes, and pytest rewrites 300 files.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: train real test quick test-slow test-release test-cpus test-verl test-servers lint audit \
	benchmark docs
train: $(VENV)/installed
	$(BIN)/toolrest train $(ARGS)

real: $(VENV)/installed
	$(BIN)/python -c 'import gguf' 2>/dev/null || $(BIN)/python -m pip install --quiet gguf
	$(BIN)/python scripts/real.py $(if $(DATA),--data $(DATA)) $(ARGS)

# pyright has work for one core, so the tests begin beside it
test: $(VENV)/tools
	$(MAKE) --jobs=2 lint quick

quick: $(VENV)/tools
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal -m "not slow" \
		--hypothesis-profile=quick

test-slow: $(VENV)/tools
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal \
		-m "slow and not release" --hypothesis-profile=thorough

test-release: $(VENV)/tools
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal -m release
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal -m hypothesis \
		--hypothesis-profile=release

test-cpus: $(VENV)/tools
	scripts/cpu_paths.sh $(BIN)/python

test-verl: $(VENV_VERL)/installed
	OMP_NUM_THREADS=1 $(VENV_VERL)/bin/python -m pytest -n auto --dist worksteal \
		--hypothesis-profile=quick tests/engines/verl

test-servers: $(VENV)/tools $(VENV_VLLM)/installed
	$(BIN)/pytest tests/evaluate/test_real_servers.py

docs: $(VENV_DOCS)/installed
	NO_MKDOCS_2_WARNING=1 $(VENV_DOCS)/bin/mkdocs build --strict

lint: $(VENV)/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

audit: $(VENV)/tools
	$(BIN)/python scripts/audit.py $(ARGS)

benchmark: $(VENV)/tools
	$(BIN)/python benchmarks/weighting.py
	$(BIN)/python benchmarks/rewards.py
	$(BIN)/python benchmarks/rollout.py
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/bfcl.py
	$(BIN)/python benchmarks/step.py

$(VENV)/installed: pyproject.toml scripts/make_venv.sh scripts/install_torch.sh
	scripts/make_venv.sh $(VENV)

$(VENV)/tools: $(VENV)/installed scripts/add_tools.sh
	scripts/add_tools.sh $(VENV)

$(VENV_VERL)/installed: pyproject.toml tests/engines/verl/environment.sh scripts/install_torch.sh
	tests/engines/verl/environment.sh $(VENV_VERL)

$(VENV_VLLM)/installed: pyproject.toml scripts/make_vllm_venv.sh
	scripts/make_vllm_venv.sh $(VENV_VLLM)

$(VENV_DOCS)/installed: pyproject.toml scripts/make_docs_venv.sh
	scripts/make_docs_venv.sh $(VENV_DOCS)
