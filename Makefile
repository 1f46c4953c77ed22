# One target a habit; `make help` lists them.
PYTHON ?= python3
PY := .venv/bin/python
export TOKENIZERS_PARALLELISM = false

.PHONY: help demo test lint slow bench bench-train eval eval-full eval-peers eval-ablations eval-tables train-default card credit docs golden clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# torch first and pinned: an open range would pull a CUDA build of several GB (set TORCH to choose another build).
TORCH ?= torch==2.13.0
.venv/.installed: pyproject.toml
	@echo "Setting up .venv (about 2.5 GB, a few minutes) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "agentmem needs Python 3.11 or newer; set PYTHON=python3.11")'
	@test -d .venv || $(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check '$(TORCH)'
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: .venv/.installed  ## set up, then the main job: read a conversation, write the memory, answer with and without it
	@$(PY) examples/main_job.py

test: .venv/.installed lint  ## what CI runs: lint, types, layers, the fast tests
	$(PY) -m pytest

lint: .venv/.installed  ## ruff, pyright, import-linter
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright
	.venv/bin/lint-imports

slow: .venv/.installed  ## tests with the real local models (fetches about 2 GB the first time)
	$(PY) -c "from agentmem.models.weights import fetch; [fetch(name) for name in ('smollm2-135m', 'qwen2.5-coder-1.5b')]"
	$(PY) -m pytest -m 'slow or net' --timeout 1800

bench: .venv/.installed  ## benchmarks, as ratios inside one run
	$(PY) -m benchmarks

bench-train: .venv/.installed  ## what training costs: a real step, beside TRL, and OPRL over outcome-only
	$(PY) -m benchmarks.training --out $(RUNS)/training.json

# Benchmark data is never part of the project: eval/README.md says where each comes from, and under which licence.
DATA ?= ../shared/data
RUNS ?= runs
eval: .venv/.installed  ## every benchmark that has data in DATA, on seeded subsets, agentmem and all baselines (hours on two cores)
	$(PY) -m eval suite quick --data $(DATA) --out $(RUNS)/eval $(if $(FRESH),--fresh)

eval-full: .venv/.installed  ## the same on all cases; many hours, resumable
	$(PY) -m eval suite full --data $(DATA) --out $(RUNS)/eval-full $(if $(FRESH),--fresh)

# An environment of its own: mem0 wants another protobuf than chromadb has here.
.venv-peers/.installed: pyproject.toml
	@test -d .venv-peers || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check '$(TORCH)'
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -e '.[eval,peers]'
	@touch $@

eval-peers: .venv-peers/.installed  ## mem0 and langmem on the same subsets, readers apart
	.venv-peers/bin/python -m eval suite peers --data $(DATA) --out $(RUNS)/eval $(if $(FRESH),--fresh)

eval-ablations: .venv/.installed  ## agentmem without each of its mechanisms, on the subsets of `make eval` (hours)
	$(PY) -m eval suite ablations --data $(DATA) --out $(RUNS)/eval $(if $(FRESH),--fresh)

SHIPPED := agentmem/policy/data/default
train-default: .venv/.installed  ## the detectors that ship and a policy of the recipe, anew from the data (minutes on a GPU; by estimate a night on two cores; RESUME=1 goes on with the policy)
	$(if $(RESUME),,$(PY) -m agentmem.train.judges marks --threads 2)
	$(if $(RESUME),,$(PY) -m agentmem.train.judges changes --threads 2)
	$(if $(RESUME),,$(PY) -m agentmem.train.judges tags --threads 2)
	$(PY) -m agentmem train sft agentmem/train/data/dialogues --recipe agentmem/train/data/default.yaml --out $(RUNS)/default $(if $(RESUME),--resume)
	$(PY) -m agentmem train export $(RUNS)/default --out $(RUNS)/default-policy --base smollm2-135m --about agentmem/train/data/default.json --dtype bfloat16
	@echo 'Measure it: $(PY) -m eval run dialogues --system agentmem:$(RUNS)/default-policy'

card: .venv/.installed  ## write the card of the policy that ships, from agentmem/train/data/shipped.json
	$(PY) -m agentmem train export $(SHIPPED) --out $(RUNS)/card --base smollm2-135m --about agentmem/train/data/default.json --about agentmem/train/data/shipped.json --dtype bfloat16 --part-mb 4.9
	cp $(RUNS)/card/README.md $(SHIPPED)/README.md

credit: .venv/.installed  ## kinds of credit compared on the made-up memory task: curves and a table
	$(PY) -m benchmarks.credit --out $(RUNS)/credit

eval-tables: .venv/.installed  ## write the tables of eval/README.md from eval/results
	$(PY) -m eval table eval/results --into eval/README.md

docs: .venv/.installed  ## regenerate what is generated in the docs
	$(PY) docs/generate.py

golden: .venv/.installed  ## regenerate memories/sample
	$(PY) -m tests.sample_user

clean:  ## remove caches (never memories)
	rm -rf .pytest_cache .ruff_cache .import_linter_cache .hypothesis
