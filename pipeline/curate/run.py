"""`pipeline curate`: measure each video and store the result, then decide on all clips at once."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np

from model.contract.exit_codes import UsageError
from model.contract.files import write_atomic
from pipeline.curate.decide import REASONS, Verdict, decide, read_overrides
from pipeline.curate.detector import Detector
from pipeline.curate.duplicates import distance
from pipeline.curate.genres import label
from pipeline.curate.measure import NAME, Measure, Work
from pipeline.curate.page import save_page
from pipeline.curate.people import Networks, People
from pipeline.curate.scores import Clip, ClipData, SongMatch
from pipeline.curate.settings import DEFAULT, Settings, load_settings
from pipeline.curate.songs import compare
from pipeline.curate.table import save_table
from pipeline.curate.voices import VoiceNetwork, Voices, voices_sentence
from pipeline.engine.base import Engine
from pipeline.engine.choice import check_engine, make_engine
from pipeline.engine.ledger import Ledger, result_key
from pipeline.engine.outcome import Outcome, attempt
from pipeline.engine.progress import progress
from pipeline.output.folder import locked
from pipeline.report.report import Report, printable
from pipeline.sources import folder, manifest
from pipeline.sources.curated import WILD
from pipeline.sources.hashing import hash_inputs
from pipeline.sources.manifest import Row
from pipeline.sources.rows import save_rows


@dataclass(frozen=True)
class CurateOptions:
    """The options of the command line, with the same defaults."""

    dataset: str
    out: Path
    source: Path | None = None
    thresholds: Path | None = None
    overrides: Path | None = None
    genres: Path | None = None
    detector: str = ""
    pose_weights: str = ""
    voices: str = "auto"
    shots: str = "auto"
    engine: str = "auto"
    address: str | None = None
    limit: int | None = None
    decide_only: bool = False
    audio_track: int = 0


@dataclass(frozen=True)
class Curation:
    """The result of a run, besides its files: clips, their verdicts, and the report on the inputs.

    `people` is a sentence that says how the dancers were counted, or that they were not; `voices`
    one that says how speech was measured.
    """

    clips: list[Clip]
    verdicts: list[Verdict]
    report: Report
    people: str
    voices: str

    def table(self) -> str:
        """Return the summary for printing."""
        lines = [self.report.table(), f"{'clips':<28}{len(self.clips):>8}"]
        for split in ("train", "test"):
            songs = [v.song for v in self.verdicts if v.split == split]
            count = f"{len(songs):>8}   ({len(set(songs))} songs)"
            lines.append(f"  {'kept, ' + split:<26}{count}")
        genres = Counter(
            clip.genre
            for clip, verdict in zip(self.clips, self.verdicts, strict=True)
            if clip.genre and verdict.decision == "keep"
        )
        for genre, number in sorted(genres.items()):
            lines.append(f"  {printable(f'kept, genre {genre}'):<26}{number:>8}")
        for reason in REASONS:
            if number := sum(v.reason == reason for v in self.verdicts):
                lines.append(f"  {'rejected, ' + reason:<26}{number:>8}")
        lines += [self.people, self.voices]
        return "\n".join(lines)


def curate(options: CurateOptions) -> Curation:
    """Curate a source folder into `<dataset>.parquet` and `<dataset>.html` in `out`.

    Raises ValueError or FileNotFoundError if the user must change something.
    """
    if options.source is None and not options.decide_only:
        raise UsageError(
            f"--dataset {options.dataset} needs --source DIR: a folder with your own "
            "downloaded videos (none are included)"
        )
    if options.genres and options.dataset != WILD:
        raise UsageError(f"--genres {options.genres} goes with --dataset {WILD}")
    if options.genres and options.decide_only:
        raise UsageError(
            f"--genres {options.genres} is not read with --decide-only, which uses the genres of "
            "the last run; leave one of them out (what was measured is not measured again)"
        )
    settings = load_settings(options.thresholds or DEFAULT, options.dataset)
    read_overrides(options.overrides, None)
    networks = _networks(options)
    voice_network = _voice_network(options)
    detector = _detector(options)
    check_engine(options.engine, options.address)
    inputs = options.out / f"{options.dataset}.inputs.parquet"
    if options.decide_only and not inputs.is_file():
        raise FileNotFoundError(f"{inputs}: nothing was measured yet; run without --decide-only")
    print(detector)
    print(voices_sentence(options.voices, voice_network))
    started = time.monotonic()
    ledger = Ledger((options.out / ".work" / "results").resolve())
    others: Mapping[str, int] = {}
    with locked(options.out):
        if options.decide_only:
            rows, _ = manifest.load(inputs)
            root = Path()
        else:
            assert options.source is not None, "checked above"
            listing = folder.list_folder(options.source)
            found, others = listing.rows, listing.others
            found = label(found, options.genres) if options.dataset == WILD else found
            found = found[: options.limit]
            rows = list(hash_inputs(listing.root, listing.motion_root, found))
            save_rows(inputs, rows, str(listing.root.resolve()))
            root = listing.root.resolve()
            note = json.dumps(networks and asdict(networks))
            write_atomic(_people_file(options.out), note.encode())
            note = json.dumps(voice_network and asdict(voice_network))
            write_atomic(_voices_file(options.out), note.encode())
            write_atomic(_shots_file(options.out), json.dumps(asdict(detector)).encode())
        how = (settings.shots, settings.picture, options.audio_track, detector.weights_id)
        stage = Measure(root, ledger, *how)
        people = People(stage, networks) if networks else None
        voices = Voices(stage, voice_network) if voice_network else None
        with closing(make_engine(options.engine, options.address)) as engine:
            stages = [each for each in (stage, voices, people) if each]
            outcomes = _measured(options, stages, rows, engine)
        curation = _decided(options, settings, stage, people, voices, rows, outcomes, detector)
        seconds = time.monotonic() - started
        report = replace(curation.report, seconds=seconds, others=others, notes=[str(detector)])
        report.save(options.out)
        return replace(curation, report=report)


def _networks(options: CurateOptions) -> Networks | None:
    """Return the networks that find people, or None; --decide-only uses those of the last run."""
    if options.pose_weights and not options.detector:
        raise UsageError(f"--pose-weights {options.pose_weights} needs --detector: name the "
                         "network that finds the people")  # fmt: skip
    if options.detector:
        return Networks.of(options.detector, options.pose_weights)
    last = _people_file(options.out)
    if not (options.decide_only and last.is_file()):
        return None
    note = json.loads(last.read_text(encoding="utf-8"))
    return note and Networks(**note)


def _people_file(out: Path) -> Path:
    return out / ".work" / "people.json"


def _voice_network(options: CurateOptions) -> VoiceNetwork | None:
    """Return the network that measures speech; --decide-only uses that of the last run."""
    if not (options.decide_only and options.voices == "auto"):
        return VoiceNetwork.of(options.voices)
    last = _voices_file(options.out)
    note = json.loads(last.read_text(encoding="utf-8")) if last.is_file() else None
    return note and VoiceNetwork(**note)


def _voices_file(out: Path) -> Path:
    return out / ".work" / "voices.json"


def _detector(options: CurateOptions) -> Detector:
    """Return the detector of shots; --decide-only uses that of the last run."""
    last = _shots_file(options.out)
    if options.decide_only and options.shots == "auto" and last.is_file():
        return Detector(**json.loads(last.read_text(encoding="utf-8")))
    return Detector.of(options.shots)


def _shots_file(out: Path) -> Path:
    return out / ".work" / "shots.json"


def _measured(
    options: CurateOptions,
    stages: Sequence[Measure | Voices | People],
    rows: Sequence[Row],
    engine: Engine,
) -> dict[str, Outcome]:
    """Return the outcome of each row after all stages: stored in the ledger, or computed now."""
    outcomes = {row.video_id: manifest.ended_early(row) for row in rows}
    ended: dict[str, Outcome] = {}
    tracks: dict[str, int] = {}
    for stage in stages:
        going = [row for row in rows if _alive(outcomes[row.video_id])]
        for row in going:
            outcomes[row.video_id] = attempt("ledger", partial(stage.stored, row))
        todo = [Work(row) for row in going if outcomes[row.video_id] is None]
        if todo and options.decide_only:
            names = ", ".join(work.row.path for work in todo[:3])
            raise ValueError(
                f"--decide-only: {len(todo)} inputs are not measured with these settings "
                f"({names} …); run without it"
            )
        if kept := len(going) - len(todo):
            print(f"{stage.name}: {kept} of {len(rows)} inputs are already done")
        if todo:
            done = engine.run([stage], todo, _lost)
            for work in progress(done, stage.name, len(todo), "video"):
                outcomes[work.row.video_id] = work.outcome
        ended = {name: _ended(outcome) for name, outcome in outcomes.items()}
        tracks = tracks or {name: outcome.audio_tracks for name, outcome in ended.items()}
    return {name: replace(end, audio_tracks=tracks[name]) for name, end in ended.items()}


def _ended(outcome: Outcome | None) -> Outcome:
    assert outcome is not None, "a stage stores, and gives, an outcome for every input"
    return outcome


def _alive(outcome: Outcome | None) -> bool:
    return outcome is None or outcome.status == "ok"


def _decided(
    options: CurateOptions,
    settings: Settings,
    stage: Measure,
    people: People | None,
    voices: Voices | None,
    rows: Sequence[Row],
    outcomes: dict[str, Outcome],
    detector: Detector,
) -> Curation:
    found: list[tuple[Clip, ClipData]] = []
    for row in rows:
        if outcomes[row.video_id].status == "ok":
            seen = (people or stage).clips(row)
            found += voices.added_to(seen, row) if voices else seen
    clips, materials = [clip for clip, _ in found], [material for _, material in found]
    overrides = read_overrides(options.overrides, {clip.clip_id for clip in clips})
    alike = likenesses(stage.ledger, clips, materials)
    videos_whole = options.dataset == WILD
    verdicts = decide(clips, alike, settings.decide, overrides, videos_whole)
    kept = {c.video_id for c, v in zip(clips, verdicts, strict=True) if v.decision == "keep"}
    for row in rows:
        if outcomes[row.video_id].status == "ok" and row.video_id not in kept:
            message = f"{row.path}: see the reason of each clip in {options.dataset}.html"
            tracks = outcomes[row.video_id].audio_tracks
            outcomes[row.video_id] = Outcome(
                "filtered", NAME, "no_clip", message, audio_tracks=tracks
            )
    save_table(options.out / f"{options.dataset}.parquet", clips, verdicts)
    failures = [f"{o.code}: {o.message}" for o in outcomes.values() if o.status == "failed"]
    page = options.out / f"{options.dataset}.html"
    title = f"Curation of {options.dataset}"
    counted_by = _people_sentence(people.networks if people else None)
    heard_by = voices_sentence(options.voices, voices.network if voices else None)
    methods = f"{counted_by}; {heard_by}; {detector}"
    save_page(page, title, methods, clips, materials, verdicts, failures)
    ends = [outcomes[row.video_id] for row in rows]
    return Curation(clips, verdicts, Report.of(ends, rows), counted_by, heard_by)


def _people_sentence(networks: Networks | None) -> str:
    """Return the sentence that says how people were counted and used."""
    if networks is None:
        return ("dancers were not counted (no --detector): no clip was accepted or rejected for "
                "its people")  # fmt: skip
    found = f"dancers were counted by --detector {networks.detector}"
    posed = "their bodies judged by the boxes only (no --pose-weights)"
    if networks.pose_weights:
        posed = f"posed by --pose-weights {networks.pose_weights}"
    sentence = f"{found} and {posed}"
    if "untrained" in (networks.detector, networks.pose_weights):
        sentence += "; UNTRAINED, random weights: the counted people are meaningless"
    return sentence


def likenesses(
    ledger: Ledger, clips: Sequence[Clip], materials: Sequence[ClipData]
) -> list[SongMatch]:
    """Return the pairs of similar-sounding clips; a stored comparison in the ledger is reused."""
    if not clips:
        return []
    content = [
        [clip.sha256, clip.start_frame, hashlib.sha256(m.fingerprint.tobytes()).hexdigest()]
        for clip, m in zip(clips, materials, strict=True)
    ]
    key = result_key(hashlib.sha256(json.dumps(content).encode()).hexdigest(), NAME, {"pairs": 3})
    stored = ledger.read(NAME, key)
    if stored is None:
        pairs = compare([m.fingerprint for m in materials])
        far = [
            distance(materials[p.first].hashes, materials[p.second].hashes, p.lag_s) for p in pairs
        ]
        columns = {
            "first": np.array([p.first for p in pairs], int),
            "second": np.array([p.second for p in pairs], int),
            "song": np.array([p.score for p in pairs]),
            "picture": np.array(far),
            "lag_s": np.array([p.lag_s for p in pairs]),
            "overlap_s": np.array([p.overlap_s for p in pairs]),
            "differs": np.array([p.differs for p in pairs]),
        }
        ledger.write(NAME, key, columns, {})
    else:
        columns = stored.arrays
    names = [field.name for field in fields(SongMatch)]
    return [
        SongMatch(*row) for row in zip(*(columns[name].tolist() for name in names), strict=True)
    ]


def _lost(work: Work, stage: str, code: str, words: str) -> Work:
    return Work(work.row, Outcome("failed", stage, code, words))
