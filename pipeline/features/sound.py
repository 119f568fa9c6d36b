"""Cut the sound of a video, or of one of its clips, into the windows that become segments."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from model.contract.segment import PEAK, SAMPLE_RATE_HZ
from pipeline.engine.outcome import StageError
from pipeline.media.windows import cut, cut_audio
from pipeline.sources.manifest import Row

if TYPE_CHECKING:
    from pipeline.media.reader import Audio, Probe

MAX_GAIN = 32.0
"""30 dB at most, so that silence is not amplified to noise."""
SILENT_PEAK = 1e-3
"""-60 dB of full scale: a segment is silent (for example muted) if all samples are below this."""


def cut_sound(
    row: Row, seen: Probe, sound: Audio | None, window_s: Fraction
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Cut the sound: int16 (n, N) segments, and facts on where and how they were cut.

    The segments of a clip contain no sound from before or after the clip. If the last window is too
    short, it is padded with silence, as at the end of a video. Without `sound` the windows come
    from the picture alone, and there are no sound segments.

    Raises StageError `too_short` if there is no complete window.
    """
    picture = (seen.video_start_s, seen.video_stop_s)
    size_px: tuple[int, ...] = (seen.width, seen.height)
    if row.span_s:
        picture = (max(picture[0], row.span_s[0]), min(picture[1], row.span_s[1]))
        sound = sound and until(sound, row.span_s[1])
        size_px = row.box[2:]
    audio = (sound.start_s, sound.stop_s) if sound else picture
    windows, dropped_s = cut(picture, audio, window_s)
    if not windows:
        raise StageError(
            "too_short", f"{row.path}: got {float(dropped_s):.2f} s, window {float(window_s):.2f} s"
        )
    pcm, gains, silent = [], [], []
    for window in windows:
        if sound is None:
            break
        samples = cut_audio(sound, window)
        peak = float(np.abs(samples).max())
        gain = min(PEAK / max(peak, 1e-9), MAX_GAIN)
        pcm.append(np.round(samples * gain * 32767).astype(np.int16))
        gains.append(gain)
        if peak < SILENT_PEAK:
            silent.append(window.index)
    facts = {
        "starts_s": [str(window.start_s) for window in windows],
        "padded_ms": [window.padded_ms for window in windows],
        "gains": gains,
        "silent_segments": silent,
        "audio_tracks": seen.audio_tracks,
        "dropped_s": float(dropped_s),
        "video_start_s": str(seen.video_start_s),
        "fps": float(seen.fps),
        "width_px": size_px[0],
        "height_px": size_px[1],
    }
    return {"pcm": np.stack(pcm)} if sound else {}, facts


def until(sound: Audio, stop_s: Fraction) -> Audio:
    """Return the sound before `stop_s`, to the nearest sample."""
    count = max(0, round((stop_s - sound.start_s) * SAMPLE_RATE_HZ))
    return replace(sound, samples=sound.samples[:count])
