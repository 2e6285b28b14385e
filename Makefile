# The two commands of the README, and those of a developer. Every target makes what it needs first.
.PHONY: labs test lint faults faults-live faults-record bench bench-report bench-outage stability steady mutants clean

labs:  ## the four labs on the embedded reference network
	@.ci/prepare
	@.venv/bin/pytest --k8snet --k8snet-provider=embedded

test:  ## the whole test suite
	@.ci/prepare
	@.venv/bin/pytest

lint:  ## ruff and mypy --strict
	@.ci/prepare
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

faults:  ## the fault matrix, from the bundles that each fault left
	@.ci/prepare
	@.venv/bin/python -m tests.matrix

faults-live:  ## the fault matrix in running kernels (four to five minutes on two cores)
	@.ci/prepare
	@.venv/bin/python -m tests.matrix --live

faults-record:  ## the same with every lab under every fault, and its bundles kept anew (ten minutes)
	@.ci/prepare
	@.venv/bin/python -m tests.matrix --record

bench:  ## medians over five runs (about three minutes)
	@.ci/prepare
	@.venv/bin/python -m benchmarks.run

bench-report:  ## the HTML page: seconds and bytes
	@.ci/prepare
	@.venv/bin/python -m benchmarks.report

bench-outage:  ## a path broken for 300 ms, five runs each (about two minutes)
	@.ci/prepare
	@.venv/bin/python -m benchmarks.outage

stability:  ## ten runs, every other one killed at a random moment; looks for residue
	@.ci/prepare
	@.venv/bin/python -m benchmarks.interrupted

steady:  ## fifty healthy runs in a row, each of which must hold everything
	@.ci/prepare
	@.venv/bin/python -m benchmarks.steady

mutants:  ## mutation testing of the parsers and the claims (docs/mutation.md says how long it takes)
	@.ci/prepare
	@.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[mutants]'
	@nice -n 19 .venv/bin/python -m benchmarks.mutants

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
