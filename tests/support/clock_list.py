"""The clock list: files of every kind; `clock_films` writes them, `clock_errors` measures them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from pipeline.media.program import binary

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", "-pix_fmt", "yuv420p")
B_FRAMES = ("-bf", "3", "-preset", "medium", "-g", "40")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:qp=6")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-crf", "8", "-b:v", "0")
VP8 = ("-c:v", "libvpx", "-deadline", "good", "-cpu-used", "4", "-crf", "4", "-b:v", "2M")
SVT = ("-c:v", "libsvtav1", "-preset", "12", "-crf", "12", "-svtav1-params", "enable-overlays=0")
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2", "-enc_time_base:v", "0")
AOM = ("-c:v", "libaom-av1", "-cpu-used", "8", "-crf", "8", "-usage", "realtime")
PCM, AAC = ("-c:a", "pcm_s16le"), ("-c:a", "aac", "-b:a", "192k")
OPUS = ("-c:a", "libopus", "-b:a", "160k")
BT2020 = ("-colorspace", "bt2020nc")


@dataclass(frozen=True)
class Case:
    """One file of the list; `coding` are ffmpeg's output options, later ones win.

    `keep` is ffmpeg's select expression for the frames of a variable frame rate. `cut_s` is where a
    copy without encoding begins; the file's clock is then `cut_s` behind the film's, or `clock_s`
    before it, where the container moves both streams. `turn_deg` is what the display matrix turns
    clockwise, `outcome` the code of a film that cannot become segments.
    """

    about: str
    name: str
    suffix: str = "mp4"
    coding: tuple[str, ...] = (*X264, *AAC)
    rate_hz: int = 44_100
    channels: int = 2
    size_px: tuple[int, int] = (96, 64)
    keep: str = "1"
    turn_deg: int = 0
    light: str = "sdr"
    picture_late_s: Fraction = Fraction(0)
    sound_late_s: Fraction = Fraction(0)
    sound_stop_s: Fraction | None = None
    cut_s: Fraction = Fraction(0)
    clock_s: Fraction | None = None
    outcome: str = ""

    @property
    def slug(self) -> str:
        return re.sub(r"\W+", "-", f"{self.about} {self.name}").strip("-")

    @property
    def encoders(self) -> set[str]:
        """The encoders that count: the last named of each kind."""
        options = list(zip(self.coding, self.coding[1:], strict=False))
        last = {key: value for key, value in options if key in ("-c:v", "-c:a")}
        return {value for value in last.values() if value != "copy"}


def case_list() -> list[Case]:
    """Return the list, in the order of the table."""
    ms = lambda n: Fraction(n, 1000)  # noqa: E731
    offset, edit, vfr = "start offsets", "edit lists", "variable frame rate"
    pcm = (*X264, *PCM)
    uneven = "lt(mod(n*37\\,100)\\,45)"
    return [
        Case(offset, "picture 45.4 ms late, AAC", picture_late_s=Fraction(454, 10_000)),
        Case(offset, "picture 200 ms late, PCM, mov", "mov", pcm, picture_late_s=ms(200)),
        Case(offset, "sound 310 ms late, AAC", sound_late_s=ms(310)),
        Case(offset, "sound 310 ms late, PCM, mkv", "mkv", pcm, sound_late_s=ms(310)),
        Case(offset, "sound 123 ms late, AAC, mkv", "mkv", sound_late_s=ms(123)),
        Case(offset, "sound 1/3 s late, AAC, mkv", "mkv", sound_late_s=Fraction(1, 3)),
        Case(
            offset, "picture 200, sound 50 ms late", picture_late_s=ms(200), sound_late_s=ms(50)
        ),
        Case(
            offset,
            "sound 310 ms late, fragmented",
            coding=(*X264, *AAC, "-movflags", "+frag_keyframe+delay_moov", "-g", "10"),
            sound_late_s=ms(310),
        ),
        Case(edit, "AAC priming"),
        Case(edit, "AAC priming, mkv", "mkv"),
        Case(
            edit, "AAC priming, no edit list",
            coding=(*X264, *AAC, "-use_editlist", "0"), clock_s=Fraction(1024, 44_100),
        ),
        Case(edit, "-ss 0.73 -c copy", cut_s=ms(730)),
        Case(edit, "-ss 0.73 -c copy, B-frames", coding=(*X264, *B_FRAMES, *AAC), cut_s=ms(730)),
        Case(edit, "-ss 0.73 -c copy, PCM, mov", "mov", pcm, cut_s=ms(730)),
        Case(edit, "-ss 0.73 -c copy, mkv", "mkv", pcm, cut_s=ms(730), clock_s=ms(0)),
        Case(edit, "MP3 in mp4", coding=(*X264, "-c:a", "libmp3lame", "-b:a", "192k")),
        Case("B-frames", "H.264, AAC", coding=(*X264, *B_FRAMES, *AAC), rate_hz=48_000),
        Case("B-frames", "H.264, AAC, mkv", "mkv", (*X264, *B_FRAMES, *AAC)),
        Case(
            "B-frames",
            "H.264, negative offsets",
            coding=(*X264, *B_FRAMES, *AAC, "-movflags", "+negative_cts_offsets"),
        ),
        Case("B-frames", "H.265", coding=(*X265, "-bf", "4", "-tag:v", "hvc1", *AAC)),
        Case(vfr, "mp4", keep=uneven),
        Case(vfr, "mp4, B-frames", coding=(*X264, *B_FRAMES, *AAC), keep=uneven),
        Case(vfr, "mkv", "mkv", pcm, keep=uneven),
        *(
            Case("rotation", f"{deg} degrees", turn_deg=deg, coding=(*X264, *B_FRAMES, *AAC))
            for deg in (90, 180, 270)
        ),
        Case("sound", "AAC 5.1, 48 kHz", rate_hz=48_000, channels=6),
        Case("sound", "PCM 5.1, 48 kHz, mkv", "mkv", pcm, 48_000, 6),
        Case(
            "sound", "AC-3 5.1, 48 kHz",
            coding=(*X264, "-c:a", "ac3", "-b:a", "448k"), rate_hz=48_000, channels=6,
        ),
        Case("sound", "PCM 8 bit, 22.05 kHz, mov", "mov", (*X264, "-c:a", "pcm_u8"), 22_050, 1),
        Case("sound", "PCM 8 bit, 8 kHz, mov", "mov", (*X264, "-c:a", "pcm_u8"), 8_000, 1),
        Case("sound", "PCM 24 bit, 96 kHz, mov", "mov", (*X264, "-c:a", "pcm_s24le"), 96_000),
        Case("sound", "FLAC 96 kHz, mkv", "mkv", (*X264, "-c:a", "flac"), 96_000),
        Case("sound", "AAC 96 kHz", rate_hz=96_000),
        Case("sound", "ALAC, mov", "mov", (*X264, "-c:a", "alac")),
        Case("sound", "Opus in mp4", coding=(*X264, *OPUS), rate_hz=48_000),
        Case("sound", "Opus in mkv", "mkv", (*X264, *OPUS), 48_000),
        Case("sound's span", "starts 700 ms late", sound_late_s=ms(700)),
        Case("sound's span", "ends 500 ms early, AAC", sound_stop_s=ms(-500)),
        Case("sound's span", "ends 500 ms early, PCM, mkv", "mkv", pcm, sound_stop_s=ms(-500)),
        Case(
            "10-bit, HDR", "H.264 High 10",
            coding=(*X264, "-preset", "veryfast", "-pix_fmt", "yuv420p10le", *AAC),
        ),
        Case("10-bit, HDR", "H.265 Main 10", coding=(*X265, "-pix_fmt", "yuv420p10le", *AAC)),
        Case(
            "10-bit, HDR", "PQ, BT.2020, H.265",
            coding=(*X265, "-pix_fmt", "yuv420p10le", *BT2020, *AAC),
            light="pq",
        ),
        Case(
            "10-bit, HDR", "HLG, BT.2020, H.265",
            coding=(*X265, "-pix_fmt", "yuv420p10le", *BT2020, *AAC),
            light="hlg",
        ),
        Case(
            "10-bit, HDR", "PQ, BT.2020, VP9 profile 2, webm", "webm",
            (*VP9, "-pix_fmt", "yuv420p10le", *BT2020, *OPUS),
            48_000, light="pq",
        ),
        Case(
            "interlaced", "H.264, top field first",
            coding=(*X264, "-preset", "veryfast", "-x264-params", "tff=1", *AAC),
            size_px=(128, 64),
        ),
        Case(
            "interlaced", "H.264, bottom first, B-frames, mkv", "mkv",
            (*X264, *B_FRAMES, "-x264-params", "bff=1", *AAC), size_px=(128, 64),
        ),
        Case(
            "interlaced", "MPEG-2, mkv", "mkv",
            (*MPEG2, "-flags", "+ildct+ilme", "-bf", "2", *PCM),
        ),
        Case("VP9, AV1, WebM, GIF", "VP9, Opus, webm", "webm", (*VP9, *OPUS), 48_000),
        Case("VP9, AV1, WebM, GIF", "VP8, Vorbis, webm", "webm", (*VP8, "-c:a", "libvorbis")),
        Case(
            "VP9, AV1, WebM, GIF", "VP8 with hidden frames, webm", "webm",
            (*VP8, "-auto-alt-ref", "1", "-lag-in-frames", "16", "-c:a", "libvorbis"),
        ),
        Case(
            "VP9, AV1, WebM, GIF", "VP9 with hidden frames, mp4", "mp4",
            (*VP9, "-deadline", "good", "-auto-alt-ref", "1", "-lag-in-frames", "16", *AAC),
        ),
        Case("VP9, AV1, WebM, GIF", "AV1 (SVT), mp4", "mp4", (*SVT, *AAC)),
        Case("VP9, AV1, WebM, GIF", "AV1 (libaom), Opus, webm", "webm", (*AOM, *OPUS), 48_000),
        Case("VP9, AV1, WebM, GIF", "GIF has no sound", "gif",
             ("-c:v", "gif", "-pix_fmt", "gray", "-an"), outcome="no_audio"),
        Case("odd sizes", "97x65, H.264 4:4:4", coding=(*X264, "-pix_fmt", "yuv444p", *AAC),
             size_px=(97, 65)),
        Case("odd sizes", "97x65, VP9, webm", "webm", (*VP9, *OPUS), 48_000, size_px=(97, 65)),
        Case("odd sizes", "65x97, FFV1, mkv", "mkv",
             ("-c:v", "ffv1", "-pix_fmt", "yuv420p", *PCM), size_px=(65, 97)),
        Case("odd sizes", "106x70, H.264", size_px=(106, 70)),
        Case("odd sizes", "101x67 turned by 90 degrees",
             coding=(*X264, "-pix_fmt", "yuv444p", *AAC), size_px=(101, 67), turn_deg=90),
    ]  # fmt: skip


@cache
def encoders() -> frozenset[str]:
    """Return the encoders that the ffmpeg program has."""
    command = [binary(), "-hide_banner", "-encoders"]
    listed = subprocess.run(
        command, check=True, capture_output=True, encoding="utf-8", errors="replace"
    ).stdout
    return frozenset(line.split()[1] for line in listed.splitlines() if len(line.split()) > 1)
