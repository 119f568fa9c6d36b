# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
# They want Python 3.11 or newer with venv; everything else is installed into .venv.

PYTHON ?= python3
BIN := .venv/bin
DEMO_VIDEOS ?= 24
DEMO_STEPS ?= 300

.PHONY: demo try test fast lint clean

# A short training of its own, then music by the demo model that is part of the package: it follows
# 2D poses, which are simulated here, so that nothing has to be fetched to estimate them.
demo: .venv/ready
	$(BIN)/pipeline build --dataset synthetic --limit $(DEMO_VIDEOS) --weights untrained --codec demo
	$(BIN)/pipeline verify --shards shards/synthetic
	$(BIN)/model train --shards shards/synthetic --level high --preset tiny \
		--set max_steps=$(DEMO_STEPS) --out runs/short \
		$(if $(wildcard runs/short/last.pt),--resume)
	$(BIN)/model generate --run runs/short --shards shards/synthetic --split test --out demo/short
	$(BIN)/pipeline report --shards shards/synthetic
	$(if $(wildcard demo/music/*.mp4),,$(BIN)/pipeline build --dataset synthetic \
		--limit $(DEMO_VIDEOS) --motion simulated-keypoints2d --visual none --out shards/poses && \
		$(BIN)/model generate --run demo --shards shards/poses --split test --out demo/music)
	@echo "report: shards/synthetic/report.html; noise from the short training: demo/short"
	@echo "music by the demo model, under dancers to songs that it was not trained on:"
	@printf '    %s\n' demo/music/*.mp4
	@echo "for a video of your own:  $(BIN)/model generate --run demo --video dance.mp4 --out demo/try"

# The poses of the dancer are estimated by two networks, which are fetched the first time (16 MB).
try: .venv/ready
	$(if $(VIDEO),,$(error Name the video: make try VIDEO=dance.mp4))
	$(BIN)/model generate --run demo --video "$(VIDEO)" --out demo/try

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
	rm -rf .venv demo runs/short shards/synthetic shards/poses data/synthetic
