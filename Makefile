# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
# They want Python 3.11 or newer with venv; everything else is installed into .venv.

PYTHON ?= python3
BIN := .venv/bin
DEMO_VIDEOS ?= 18
DEMO_STEPS ?= 200
TEXT_SONGS ?= 36
TEXT_CODEC_STEPS ?=
TEXT_STEPS ?=
EACH_CORE := -n logical --maxprocesses 8 --dist loadfile

.PHONY: demo try text test fast lint clean

demo: .venv/ready
	$(BIN)/pipeline build --dataset synthetic --limit $(DEMO_VIDEOS) --weights untrained --codec demo
	$(BIN)/pipeline verify --shards shards/synthetic
	$(BIN)/model train --shards shards/synthetic --level high --preset tiny \
		--set max_steps=$(DEMO_STEPS) --out runs/demo \
		$(if $(wildcard runs/demo/last.pt),--resume)
	test demo/generated.json -nt runs/demo/last.pt || \
		$(BIN)/model generate --run runs/demo --shards shards/synthetic --split test --out demo
	$(BIN)/pipeline build --dataset synthetic --limit $(DEMO_VIDEOS) --motion simulated-keypoints2d \
		--visual none --engine local --out shards/demo-poses
	test -f demo/codes/generated.json || \
		$(BIN)/model generate --run demo --shards shards/demo-poses --split test --out demo/codes
	test -f demo/notes/generated.json || \
		$(BIN)/model generate --run demo-notes --shards shards/demo-poses --split test --out demo/notes
	$(BIN)/pipeline report --shards shards/synthetic
	@echo "music under the picture (report: shards/synthetic/report.html), by the run just trained,"
	@echo "by the shipped model of codes, and by the one of notes: drums, bass and chords on the beats"
	@printf '    %s\n' demo/*.mp4 demo/codes/*.mp4 demo/notes/*.mp4
	@echo "music for a video of your own, into demo/try:  make try VIDEO=dance.mp4"

# The shipped models need no training: poses from the picture (16 MB of weights, fetched once).
try: .venv/ready
	$(if $(VIDEO),,$(error Name the video: make try VIDEO=dance.mp4))
	$(BIN)/model generate --run demo --video "$(VIDEO)" --out demo/try/codes
	$(BIN)/model generate --run demo-notes --video "$(VIDEO)" --out demo/try/notes

# A small text-to-music model to steer by dance (docs/guide/text.md), and its codec.
text: .venv/ready
	test -f data/songs/captions.csv || \
		$(BIN)/python -m pipeline.sources.synthetic data/songs --music-only --vary-instruments \
		--songs-per-genre $(TEXT_SONGS) --split train --jobs 2
	$(BIN)/model train-codec --arch encodec --audio data/songs/wav --out runs/text-codec \
		$(if $(TEXT_CODEC_STEPS),--set steps=$(TEXT_CODEC_STEPS)) \
		$(if $(wildcard runs/text-codec/checkpoint.pt),--resume)
	$(BIN)/model train-text --music data/songs --captions data/songs/captions.csv \
		--codec encodec:runs/text-codec/codec --out runs/text \
		$(if $(TEXT_STEPS),--set steps=$(TEXT_STEPS)) \
		$(if $(wildcard runs/text/checkpoint.pt),--resume)

test: lint
	$(BIN)/python -m pytest -m "not slow" $(EACH_CORE)
	$(BIN)/python -m pytest -m slow

# Most tests, and those that find most: neither minutes nor Ray (slow), nor seconds (long).
fast: lint
	$(BIN)/python -m pytest -m "not slow and not long" $(EACH_CORE)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf .venv demo runs/demo shards/synthetic shards/demo-poses data/synthetic
