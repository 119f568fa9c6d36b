"""Write mp4 files with the ffmpeg program: encode frames and sound, or replace a video's sound.

ffmpeg may open regular files and pipes only, and only the formats in `LIMITS`. A playlist that is
named like a video can therefore not make it read another file or open a socket.
"""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipeline.media.program import (
    BITEXACT,
    H264,
    LIMITS,
    MP4,
    FfmpegError,
    binary,
    said,
    same_times,
)

if TYPE_CHECKING:
    import numpy as np

COPIED = frozenset("h264 hevc av1 vp9 mpeg4 mpeg2video mpeg1video".split())
"""Codecs whose packets are copied into an mp4 unchanged. Players expect no others there, although
ffmpeg can write some of them (ProRes, VVC); it cannot write VP8 or H.263."""


def encode(
    frames: Iterable[np.ndarray],
    fps: Fraction | int,
    size_px: tuple[int, int],
    audio: np.ndarray | None,
    sample_rate_hz: int,
    out: Path,
    *,
    crf: int = 20,
    preset: str = "veryfast",
    audio_bit_rate: str = "192k",
    options: Mapping[str, str | int] | None = None,
) -> None:
    """Encode frames and sound, both starting at 0 s, as H.264 and AAC in an mp4.

    `frames` are (H, W, 3) uint8 RGB, streamed one by one; `size_px` is (W, H), both even, as
    4:2:0 needs. `audio` is float32 (N,) or (N, C), or None for a silent file without a sound
    stream. `options` are further output options by ffmpeg's names (`{"bf": 0}`). The same input
    and program give the same bytes (one encoder thread, no dates). `out` is written completely or
    not at all. Neither stream is cut to the length of the other.

    Raises ValueError for frames or sound of another shape, and FfmpegError if ffmpeg fails.
    """
    import ffmpeg

    width, height = size_px
    if width < 2 or height < 2 or width % 2 or height % 2:
        raise ValueError(
            f"{out}: frames of {width}x{height}; H.264 4:2:0 needs even sizes; crop them"
        )
    rate = Fraction(fps)
    if rate <= 0:
        raise ValueError(f"{out}: fps is {fps}, expected more than 0")
    picture = ffmpeg.input(
        "pipe:0",
        f="rawvideo",
        pix_fmt="rgb24",
        video_size=(width, height),
        framerate=f"{rate.numerator}/{rate.denominator}",
        protocol_whitelist=LIMITS["protocol_whitelist"],
    )
    coding: dict[str, Any] = {
        **H264,
        "crf": crf,
        "preset": preset,
        "threads": 1,
        **BITEXACT,
        **MP4,
    }
    with tempfile.TemporaryDirectory(prefix="dance2music-") as folder:
        streams = [picture["v"]]
        if audio is not None:
            wav = Path(folder) / "audio.wav"
            _write_wav(wav, audio, sample_rate_hz)
            streams.append(_input(wav, f="wav")["a"])
            coding |= {"c:a": "aac", "b:a": audio_bit_rate}
        with _appearing(out) as part:
            node = ffmpeg.output(*streams, _url(part), **(coding | dict(options or {})))
            with _running(node, str(out)) as pipe:
                for data in _raw(frames, (height, width, 3), out):
                    pipe.write(data)


def mux(
    video: Path, audio: Path, start_s: Fraction | float, out: Path, audio_bit_rate: str = "192k"
) -> str:
    """Write an mp4 with the picture of `video` and the sound of `audio`.

    Returns "" if the video stream was copied (same packets, same timestamps), else the name of the
    original codec. Codecs in `COPIED` are copied. For any other codec each frame is encoded again
    as H.264 (8 bits, 4:2:0), upright, at its own timestamp; an odd width or height loses one line.

    The sound (a wav file) becomes AAC. It starts at `start_s` seconds of the video's own clock and
    is as long as the wav. The original sound of `video` is dropped. Neither stream is cut to the
    length of the other. AAC starts with 1024 priming samples, which are before `start_s`.

    Raises ValueError for a start before 0 or a sound that is not a wav file, OSError if a file is
    missing or `out` cannot be written, and FfmpegError if ffmpeg fails.
    """
    import ffmpeg

    if not math.isfinite(start_s) or start_s < 0:
        raise ValueError(f"{out}: sound starts at {start_s} s, expected 0 or later")
    coding: dict[str, Any] = {
        "c:v": "copy",
        "c:a": "aac",
        "b:a": audio_bit_rate,
        "threads": 1,
        # Without this ffmpeg shifts each input so that it starts at 0.
        "copyts": None,
        **BITEXACT,
        **MP4,
    }
    _check_wav(audio)
    codec, tick_s, early_s = _picture(video)
    # "V" selects a video stream that is not a cover picture.
    picture = _input(video, **({"itsoffset": f"{early_s:.6f}"} if early_s else {}))["V:0"]
    sound = _input(audio, f="wav", itsoffset=f"{float(start_s):.6f}")["a:0"]
    changed = codec and codec not in COPIED
    if changed:
        even = ("trunc(iw/2)*2", "trunc(ih/2)*2")
        picture = picture.filter("crop", *even, 0, 0, exact=1).filter("scale", out_range="tv")
        coding |= {**H264, "crf": 18, "preset": "veryfast", **same_times(tick_s)}
    with _appearing(out) as part:
        node = ffmpeg.output(picture, sound, _url(part), **coding)
        what = "encoding its picture again" if changed else "copying its picture"
        with _running(node, f"{video}: {what} and adding the sound {audio}"):
            pass
    return codec if changed else ""


def mux_clip(
    video: Path,
    audio: Path,
    span_s: tuple[float, float],
    box: tuple[int, ...],
    out: Path,
    crf: int = 18,
    audio_bit_rate: str = "192k",
) -> None:
    """Write an mp4 with a part of `video` and the sound of `audio`, both starting at 0 s.

    The part is the half-open time span `span_s` on the video's own clock, cropped to `box` (x, y,
    width, height in px of the upright picture). An odd width or height loses one line. The part is
    encoded again, because copied packets can only start at key frames and cannot be cropped. The
    sound is the complete wav; neither stream is cut to the length of the other.

    Raises ValueError for an empty span or box or a sound that is not a wav file, OSError if a file
    is missing or `out` cannot be written, and FfmpegError if ffmpeg fails.
    """
    import ffmpeg

    (start_s, stop_s), (x, y, width, height) = span_s, box
    if not 0 <= start_s < stop_s < math.inf:
        raise ValueError(f"{out}: a clip from {start_s} to {stop_s} s, expected 0 <= start < stop")
    if min(x, y) < 0 or min(width, height) < 2:
        raise ValueError(f"{out}: invalid box {box}; expected x, y >= 0 and width, height >= 2 px")
    coding: dict[str, Any] = {
        **H264,
        "crf": crf,
        "preset": "veryfast",
        "c:a": "aac",
        "b:a": audio_bit_rate,
        "threads": 1,
        **BITEXACT,
        **MP4,
    }
    _check_wav(audio)
    # Half a microsecond earlier, so that rounding cannot move the start after the frame's time.
    seek_s = max(0.0, start_s - _picture(video)[2] - 5e-7)
    picture = _input(video, seek_timestamp="1", ss=f"{seek_s:.7f}", t=f"{stop_s - start_s:.6f}")
    part_of = picture["V:0"].filter("crop", width // 2 * 2, height // 2 * 2, x, y, exact=1)
    with _appearing(out) as part:
        node = ffmpeg.output(part_of, _input(audio, f="wav")["a:0"], _url(part), **coding)
        with _running(
            node, f"{video}: encoding a part of its picture and adding the sound {audio}"
        ):
            pass


def _picture(video: Path) -> tuple[str, Fraction, float]:
    """Return the codec name (libavcodec's), the time base in s, and `early_ticks` in s.

    For an unreadable video these are "", 1 and 0; then ffmpeg reports the error.
    """
    from pipeline.media.container import (
        DEFAULTS,
        MediaError,
        early_ticks,
        opened,
        tick_s,
        video_stream,
    )

    path, codec, clock_s = Path(video), "", Fraction(1)
    try:
        with opened(path, DEFAULTS) as container:
            stream = video_stream(path, container, DEFAULTS)
            codec, clock_s = stream.codec_context.codec.canonical_name, tick_s(stream)
            return codec, clock_s, float(early_ticks(path, container, stream) * clock_s)
    except MediaError:
        return codec, clock_s, 0.0


def _input(path: Path, **options: str) -> Any:
    import ffmpeg

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file, or not a regular file")
    return ffmpeg.input(_url(path), **LIMITS, **options)


def _check_wav(path: Path) -> None:
    """Raise ValueError if a file is not a wav.

    Without this check ffmpeg would report the error as if it came from the video.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file, or not a regular file")
    with open(path, "rb") as file:
        head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        raise ValueError(f"{path}: not a wav file; convert it: ffmpeg -i {path} music.wav")


def _url(path: Path) -> str:
    """Return `path` as a URL that ffmpeg reads as a file, whatever characters it starts with.

    Each character of the URL is one byte of the file name (Latin-1); `_running` turns it back into
    bytes. File names need not be valid UTF-8, and ffmpeg-python accepts only text.
    """
    return "file:" + os.fsencode(Path(path).absolute()).decode("latin-1")


def _write_wav(path: Path, audio: np.ndarray, sample_rate_hz: int) -> None:
    import numpy as np
    import soundfile

    if audio.ndim not in (1, 2) or not audio.shape[0] or not np.issubdtype(audio.dtype, np.float32):
        raise ValueError(
            f"sound has dtype {audio.dtype} and shape {audio.shape}, "
            "expected float32 (N,) or (N, C), N > 0"
        )
    soundfile.write(path, audio, sample_rate_hz, subtype="FLOAT")


def _raw(frames: Iterable[np.ndarray], shape: tuple[int, ...], out: Path) -> Iterator[bytes]:
    index = -1
    for index, frame in enumerate(frames):
        if frame.shape != shape or frame.dtype != "uint8":
            raise ValueError(
                f"{out}: frame {index} is {frame.dtype} {frame.shape}, expected uint8 {shape}"
            )
        yield frame.tobytes()
    if index < 0:
        raise ValueError(f"{out}: no frames to encode")


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """Yield a temporary path; rename it to `out` at the end, or remove it after an error.

    Raises OSError at once if nothing can be written there.
    """
    part = out.with_name(f"{out.name}.{os.getpid()}.part")
    if out.is_dir():
        raise OSError(f"{out}: is a folder, expected a file name")
    try:
        part.touch()
    except OSError as error:
        message = f"{out}: cannot be written ({error.strerror}); choose another place"
        raise OSError(message) from None
    try:
        yield part
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _running(node: Any, what: str) -> Iterator[IO[bytes]]:
    """Run ffmpeg and yield its standard input; raise FfmpegError (it names `what`) on failure."""
    arguments = node.compile(cmd="ffmpeg", overwrite_output=True)[1:]
    command = [binary(), "-hide_banner", "-loglevel", "error"]
    command += [argument.encode("latin-1") for argument in arguments]
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=stderr
        )
        broken = False
        try:
            assert process.stdin is not None
            try:
                yield process.stdin
                process.stdin.close()
            except BrokenPipeError:
                broken = True
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        if code or broken:
            stderr.seek(0)
            message = said(stderr.read())
            raise FfmpegError(f"{what}: ffmpeg stopped with exit code {code}: {message}")
