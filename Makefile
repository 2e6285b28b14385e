# The two commands of the README, and those of a developer. Every target makes what it needs first.
.PHONY: labs test lint bench stability clean

labs:  ## the four labs on the embedded reference network
	@.ci/prepare
	@.venv/bin/pytest --k8snet

test:  ## the whole test suite
	@.ci/prepare
	@.venv/bin/pytest

lint:  ## ruff and mypy --strict
	@.ci/prepare
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench:  ## medians over five runs (about three minutes)
	@.ci/prepare
	@.venv/bin/python -m benchmarks.run

stability:  ## ten runs, every other one killed at a random moment; looks for residue
	@.ci/prepare
	@.venv/bin/python -m benchmarks.interrupted

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
