"""The built-in sources of notes. Heavy imports are inside, so that `--help` is fast."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from model.contract.exit_codes import UsageError
from model.contract.options import option
from model.contract.segment import SAMPLE_RATE_HZ, WAV
from pipeline.arguments import local
from pipeline.engine.outcome import StageError
from pipeline.features.notes.base import NoteSource

if TYPE_CHECKING:
    import numpy as np

    from model.contract.dataset import Dataset
    from pipeline.features.notes.basic_pitch import BasicPitch
    from pipeline.features.notes.video import VideoNotes

INSTALL_MIDI = "uv pip install -c constraints.txt -e '.[midi]'"
SUFFIXES = (".mid", ".midi")


@dataclass(frozen=True)
class Synthetic(NoteSource):
    """The notes that the songs of the synthetic benchmark were composed of: `<video>.npz`."""

    name: ClassVar[str] = "synthetic"

    truth: Path | None = option(
        None,
        "synthetic: folder of the ground truth (default: the folder truth beside the videos)",
        type=local,
        metavar="DIR",
    )

    def ready(self, dataset: Dataset) -> Self:
        if self.truth is None and not dataset.source:
            raise ValueError(
                "the data set does not record its source folder; give the folder of the ground "
                "truth: --truth DIR"
            )
        folder = self.truth or Path(dataset.source).parent / "truth"
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such folder; expected the ground truth of the synthetic data set, "
                "<video>.npz; give its folder: --truth DIR"
            )
        return replace(self, truth=folder.resolve())

    @property
    def note(self) -> str:
        return "exact: the notes that the songs were composed of"

    def content(self, video: VideoNotes) -> str:
        return hashlib.sha256(self._find(video).read_bytes()).hexdigest()

    def notes(self, video: VideoNotes, window_s: float) -> np.ndarray:
        from pipeline.features.notes.truth import read_truth

        path = self._find(video)
        try:
            return read_truth(path.read_bytes(), video.song)
        except ValueError as error:
            raise StageError("bad_notes", f"{path}: {error}") from None

    def _find(self, video: VideoNotes) -> Path:
        assert self.truth is not None, "the source is ready"
        path = self.truth / f"{video.video_id}.npz"
        if not path.is_file():
            raise StageError(
                "missing_notes",
                f"{path}: not found; write it again: python -m pipeline.sources.synthetic DIR",
            )
        return path


@dataclass(frozen=True)
class Midi(NoteSource):
    """`<video>.mid`, or else `<song>.mid`, of a folder; its time 0 is the start of the video."""

    name: ClassVar[str] = "midi"

    midi: Path | None = option(
        None, "midi: folder of <song>.mid or <video>.mid", type=local, metavar="DIR"
    )

    def ready(self, dataset: Dataset) -> Self:
        if self.midi is None:
            raise UsageError("--from midi: where are the files? add --midi DIR, with <song>.mid")
        if not self.midi.is_dir():
            raise FileNotFoundError(
                f"--midi {self.midi}: no such folder; expected <song>.mid in it"
            )
        if find_spec("pretty_midi") is None:
            raise ValueError(
                f"--from midi needs the package pretty_midi, which is not installed: {INSTALL_MIDI}"
            )
        return replace(self, midi=self.midi.resolve())

    @property
    def note(self) -> str:
        assert self.midi is not None, "the source is ready"
        files = sorted(path for path in self.midi.iterdir() if path.suffix.lower() in SUFFIXES)
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
        return f"MIDI files of {self.midi.name}: {len(files)}, SHA-256 {digest.hexdigest()[:12]}"

    def content(self, video: VideoNotes) -> str:
        return hashlib.sha256(self._find(video).read_bytes()).hexdigest()

    def notes(self, video: VideoNotes, window_s: float) -> np.ndarray:
        from pipeline.features.notes.midi_file import read_midi

        path = self._find(video)
        try:
            notes = read_midi(path.read_bytes())
        except ValueError as error:
            raise StageError("bad_notes", f"{path}: {error}") from None
        if not len(notes):
            raise StageError("bad_notes", f"{path}: a MIDI file without notes")
        return notes

    def _find(self, video: VideoNotes) -> Path:
        assert self.midi is not None, "the source is ready"
        names = [*dict.fromkeys(name for name in (video.video_id, video.song) if name)]
        for path in (self.midi / f"{name}{suffix}" for name in names for suffix in SUFFIXES):
            if path.is_file():
                return path
        wanted = " or ".join(f"{name}.mid" for name in names)
        raise StageError("missing_notes", f"{self.midi}: {wanted} not found")


@dataclass(frozen=True)
class Transcription(NoteSource):
    """Transcribes the segments of a video, joined: the shards have no other sound of a song."""

    name: ClassVar[str] = "basic-pitch"

    network: BasicPitch | None = field(default=None, repr=False)

    def ready(self, dataset: Dataset) -> Self:
        from pipeline.features.notes.basic_pitch import BasicPitch

        if WAV not in dataset.fields:
            raise ValueError(
                "built with --no-sound: no sound to transcribe; build it again without --no-sound"
            )
        return replace(self, network=BasicPitch.installed())

    @property
    def note(self) -> str:
        assert self.network is not None, "the source is ready"
        return (
            f"transcribed by basic-pitch {self.network.version} (SHA-256 "
            f"{self.network.sha256[:12]}), as one piano; drums are pseudo-drums from onsets"
        )

    @property
    def version(self) -> str:
        from pipeline.features.notes.transcribe import VERSION

        assert self.network is not None, "the source is ready"
        return f"{VERSION} {self.network.sha256}"

    def content(self, video: VideoNotes) -> str:
        digest = hashlib.sha256(repr(video.gains).encode())
        for wav in video.sound():
            digest.update(hashlib.sha256(wav).digest())
        return digest.hexdigest()

    def notes(self, video: VideoNotes, window_s: float) -> np.ndarray:
        import numpy as np

        from model.contract.wav import PCM_SCALE, read_wav
        from pipeline.features.notes.transcribe import transcribe

        assert self.network is not None, "the source is ready"
        sound = [read_wav(wav) / PCM_SCALE for wav in video.sound()]
        found = []
        for part in joined(video, window_s):
            audio = np.concatenate([sound[i] / video.gains[i] for i in part])
            notes = transcribe(audio, self.network)
            notes[:, 0] += video.starts_s[part[0]]
            found.append(notes)
        return np.concatenate(found)


def joined(video: VideoNotes, window_s: float) -> Iterator[list[int]]:
    """Yield the indices of segments that follow each other without a gap."""
    part: list[int] = []
    for i, start_s in enumerate(video.starts_s):
        if part and abs(video.starts_s[part[-1]] + window_s - start_s) > 0.5 / SAMPLE_RATE_HZ:
            yield part
            part = []
        part.append(i)
    yield part
