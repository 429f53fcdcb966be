# Every target sets up what it needs: .venv is made, and made anew when the pins change.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DOCS_READY := .venv/.docs-ready
MUTANTS_READY := .venv/.mutants-ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-versions quick-versions test-pgbouncer lint check format docs bench bench-peers bench-long faults simulate cron-oracle mutants sql-mutants plans coverage clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt pip
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --group dev
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --no-build-isolation --editable '.[cli,postgres,prometheus,otel,sentry,reload,uvloop,django]'
	@touch $(READY)

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --group docs
	@touch $(DOCS_READY)

$(MUTANTS_READY): $(READY)
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --group mutants
	@touch $(MUTANTS_READY)

demo: $(READY)  ## run the main job: 1,000 and more real files through two workers, one of them killed
	$(BIN)/python -m demo

test: $(READY)  ## run the tests (10 to 14 minutes)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-versions: $(READY)  ## run the tests on every other CPython that pyenv or the path has (3.11 to 3.14), each in .venvs
	$(BIN)/python -m tests.other_versions -n 2 --dist loadfile

quick-versions: $(READY)  ## on the same versions, mypy and the tests that need no PostgreSQL and little time (two to three minutes each)
	$(BIN)/python -m tests.other_versions --quick -n 2 --dist loadfile

test-pgbouncer: $(READY)  ## the suite, the engine and the faults through PgBouncer in transaction mode, where it is installed
	$(BIN)/python -m tests.pgbouncer -n 2 --dist loadfile -k postgres \
		tests/backend/postgres/test_suite.py tests/backend/postgres/test_scopes.py tests/engine tests/faults

lint: $(READY)  ## ruff, basedpyright and mypy (both strict) and the layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports

check: lint test  ## all that must be green before a commit

format: $(READY)  ## let ruff put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(DOCS_READY)  ## build docs/_build/html; warnings are errors, and nothing is fetched
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --fresh-env --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(READY)  ## measure, beside the bare drivers in the same run (about 3 minutes)
	$(BIN)/python -m benchmarks core --here --scale 0.25 --out build/bench

bench-peers: $(READY)  ## the same beside all peers, each in an environment of its own; Redis where it is installed (2 hours)
	$(BIN)/python -m benchmarks core --systems all --rounds 5 --out build/bench-peers

bench-long: $(READY)  ## all workloads, steady load for ten minutes included, beside the fastest peer on PostgreSQL (3 hours)
	$(BIN)/python -m benchmarks all --systems ours,bare,pgqueuer --rounds 5 --out build/bench-long

faults: $(READY)  ## every scenario of docs/reliability.md at full size, on both stores, and the page anew (2 hours)
	$(BIN)/python -m tests.faults --full --keep docs/faults.jsonl; status=$$?; \
		$(BIN)/python -m tests.faults.document && exit $$status

simulate: $(READY)  ## the real engine on virtual time with faults, decided by a seed: thousands of seeds
	$(BIN)/python -m tests.simulation --seeds 5000

cron-oracle: $(READY)  ## compare cron with a brute force around every zone's changes from 2024 to 2030 (8 minutes)
	$(BIN)/python -m tests.project.cron_oracle --processes 2

mutants: $(MUTANTS_READY)  ## change the rules, uniqueness and backoff word by word; what no test notices survives (10 minutes)
	rm -rf mutants
	$(BIN)/python -m mutmut run --max-children 2
	$(BIN)/python -m mutmut results

sql-mutants: $(READY)  ## the same for the statements of claim, settle, rescue and prune, on each store (an hour each)
	$(BIN)/python -m tests.project.sql_mutants --store sqlite
	$(BIN)/python -m tests.project.sql_mutants --store postgres

plans: $(READY)  ## ask for PostgreSQL's plans at a million rows a kind, and show them (2 minutes)
	REXECUTOR_PLAN_ROWS=1000000 $(BIN)/python -m pytest -s -p no:randomly tests/backend/postgres/test_plans.py

coverage: $(READY)  ## run the tests in one process, show what they do not reach, and fail below 98 % (15 minutes)
	$(BIN)/python -m coverage run -m pytest -p no:randomly
	$(BIN)/python -m coverage combine --quiet || true
	$(BIN)/python -m coverage report

clean:  ## remove what the targets made
	rm -rf .venv .venvs .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache htmlcov build dist docs/_build mutants
