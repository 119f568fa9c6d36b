# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
# They want Python 3.11 or newer with venv; everything else is installed into .venv.

PYTHON ?= python3
BIN := .venv/bin
DEMO_VIDEOS ?= 24
DEMO_STEPS ?= 300

.PHONY: demo try test fast lint clean

demo: .venv/ready
	$(BIN)/pipeline build --dataset synthetic --limit $(DEMO_VIDEOS) --weights untrained --codec demo
	$(BIN)/pipeline verify --shards shards/synthetic
	$(BIN)/model train --shards shards/synthetic --level high --preset tiny \
		--set max_steps=$(DEMO_STEPS) --out runs/demo \
		$(if $(wildcard runs/demo/last.pt),--resume)
	$(BIN)/model generate --run runs/demo --shards shards/synthetic --split test --out demo
	$(BIN)/pipeline report --shards shards/synthetic
	@echo "music under the picture (report: shards/synthetic/report.html):"
	@printf '    %s\n' demo/*.mp4
	@echo "music for a video of your own, into demo/try:  make try VIDEO=dance.mp4"

# A run on the picture alone: a new video has no motion annotations beside it, as the demo's have.
try: .venv/ready
	$(if $(VIDEO),,$(error Name the video: make try VIDEO=dance.mp4))
	$(if $(wildcard shards/synthetic/dataset.json),,$(error Run make demo first))
	$(BIN)/model train --shards shards/synthetic --level high --preset tiny \
		--set use_motion=false --set max_steps=$(DEMO_STEPS) --out runs/try \
		$(if $(wildcard runs/try/last.pt),--resume)
	$(BIN)/model generate --run runs/try --video "$(VIDEO)" --out demo/try

test: fast
	$(BIN)/python -m pytest -m slow

# Everything but the tests that take minutes or start Ray: a process for each core.
fast: lint
	$(BIN)/python -m pytest -m "not slow" -n logical --maxprocesses 8 --dist loadfile

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf .venv demo runs/demo runs/try shards/synthetic data/synthetic
