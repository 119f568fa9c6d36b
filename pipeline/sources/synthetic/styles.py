"""The styles of the synthetic songs: tempo, drum patterns, bass and harmony of each genre."""

from __future__ import annotations

from dataclasses import dataclass, field

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
DORIAN = (0, 2, 3, 5, 7, 9, 10)
PHRYGIAN = (0, 1, 3, 5, 7, 8, 10)
MIXOLYDIAN = (0, 2, 4, 5, 7, 9, 10)


@dataclass(frozen=True)
class Style:
    """What characterises a genre: tempo range, drums, bass, harmony, voices, and their loudness.

    `drums` maps a sound of `instruments.DRUMS` to its bar: '.' is a rest, '1' to '9' is loudness.
    In `bass`, '1' is the root, '3' '5' '7' are chord notes, and '8' is the octave. In `chords`, 'x'
    strikes the chord and a digit plays one of its notes. `ghosts` are steps where a song may have
    extra kicks.
    """

    tempo_bpm: tuple[float, float]
    drums: dict[str, str]
    bass: str
    chords: str
    scale: tuple[int, ...]
    progressions: tuple[tuple[int, ...], ...]
    voices: tuple[str, str, str]
    levels: tuple[float, float, float, float] = (1.0, 0.5, 0.35, 0.25)  # drums, bass, chords, lead
    chord_notes: int = 3
    chord_steps: int = 2
    bass_steps: int = 3
    bass_midi: int = 36
    chord_midi: int = 60
    swing: float = 0.0
    pump: float = 0.0
    lead_density: float = 0.35
    ghosts: tuple[int, ...] = field(default=(6, 10, 14))


STYLES = {
    "BR": Style(
        (108, 128),
        {"kick": "9...4...8.6.4...", "snare": "....9..2.2..9...", "hat": "7.3.7.3.7.3.7.3.",
         "bongo": "5...4.3.5.3.4.4."},
        "1...1.8.1...5.3.", "x.....x.x.......", DORIAN, ((0, 0, 3, 3), (0, 6, 3, 4), (0, 0, 2, 3)),
        ("slap", "brass", "lead"), chord_notes=4, chord_steps=1, lead_density=0.25,
    ),
    "PO": Style(
        (96, 116),
        {"kick": "9...4...9.5.4...", "zap": "....9.......9...", "clap": "....8.......8...",
         "hat": "7.3.7.3.7.3.7.3.", "cowbell": "6...4...6.3.4..."},
        "1.1.1..81.1.1..5", "x.......x.....x.", MINOR, ((0, 5, 6, 0), (0, 3, 0, 6), (0, 0, 5, 6)),
        ("acid", "clav", "square"), chord_notes=3, chord_steps=1, bass_steps=1, bass_midi=38,
    ),
    "LO": Style(
        (102, 120),
        {"kick": "9...5.4.8.4.5...", "snare": "....9..2.2..9...", "hat": "8242824282428242",
         "tambourine": "6...6...6...6..."},
        "1...1...5...1.8.", "xx..x...xx..x...", MIXOLYDIAN,
        ((0, 0, 3, 3), (0, 3, 0, 4), (0, 4, 3, 0)),
        ("slap", "guitar", "brass"), chord_notes=5, chord_steps=1, bass_steps=2, swing=0.12,
    ),
    "MH": Style(
        (86, 102),
        {"kick": "9......6.39.....", "snare": "....9.......9...", "hat": "6.4.6.4.6.4.6.44",
         "vinyl": "1111111111111111"},
        "1......1..5.3...", "x.......x..x....", DORIAN, ((1, 4, 0, 0), (0, 3, 0, 4), (5, 1, 4, 0)),
        ("round", "epiano", "flute"), (1.0, 0.7, 0.45, 0.2), chord_notes=4, chord_steps=6,
        bass_steps=4, swing=0.3, lead_density=0.2,
    ),
    "LH": Style(
        (82, 96),
        {"kick": "9.....7...8.....", "clap": "....9.......9...", "tick": "5353535353555355",
         "openhat": "......4.......4."},
        "1.....1...1..8..", "0.2.1.2.0.2.1.3.", PHRYGIAN,
        ((0, 0, 1, 0), (0, 5, 1, 0), (0, 3, 1, 1)),
        ("808", "bell", "bell"), (0.9, 0.9, 0.3, 0.18), chord_steps=3, bass_steps=6, bass_midi=28,
        chord_midi=72, lead_density=0.15,
    ),
    "HO": Style(
        (118, 130),
        {"kick": "9...9...9...9...", "clap": "....6.......6...", "openhat": "..7...7...7...7.",
         "hat": "3.3.3.3.3.3.3.3.", "shaker": "2323232323232323"},
        "..1..1.1..1..1.8", "x..x..x...x..x..", MINOR, ((0, 5, 2, 6), (0, 3, 5, 4), (0, 2, 3, 5)),
        ("square", "organ", "stab"), (1.0, 0.4, 0.35, 0.15), chord_notes=4, chord_steps=2,
        bass_steps=2, pump=0.6, ghosts=(15,),
    ),
    "WA": Style(
        (112, 124),
        {"kick": "9...9...9...9...", "snare": "....8.......8...", "openhat": "..6...6...6...6.",
         "hat": "4.344.344.344.34", "tambourine": "4.4.6.4.4.4.6.4."},
        "1.8.1.8.1.8.1.8.", "x...............", MINOR, ((0, 3, 6, 2), (0, 5, 3, 4), (5, 6, 0, 0)),
        ("round", "strings", "strings"), (0.9, 0.5, 0.5, 0.3), chord_notes=4, chord_steps=16,
        bass_steps=1, bass_midi=40, chord_midi=64, lead_density=0.4, ghosts=(15,),
    ),
    "KR": Style(
        (84, 100),
        {"stomp": "9...5...9.5.5...", "clap": "....9.......9..5", "snare": "....7.......7...",
         "tom": "..........5.55.6", "hat": "7...7...7...7..."},
        "1...1...1.1.....", "x.......x.x.....", PHRYGIAN,
        ((0, 0, 1, 0), (0, 1, 0, 4), (0, 0, 5, 1)),
        ("growl", "brass", "brass"), (1.1, 0.6, 0.35, 0.2), chord_notes=3, chord_steps=2,
        bass_midi=30, chord_midi=48, lead_density=0.1,
    ),
    "JS": Style(
        (92, 114),
        {"kick": "7...4...7...4...", "brush": "5...9...5...9...", "ride": "7...9.3.7...9.3.",
         "rim": "5...5.2.5...5..."},
        "1...3...5...7...", "x.....x.x.......", DORIAN, ((1, 4, 0, 5), (0, 5, 1, 4), (1, 4, 1, 4)),
        ("upright", "piano", "flute"), (0.7, 0.8, 0.4, 0.3), chord_notes=5, chord_steps=2,
        bass_steps=4, bass_midi=38, swing=0.5, lead_density=0.45, ghosts=(),
    ),
    "JB": Style(
        (80, 94),
        {"kick": "4.......4.......", "rim": "....3.......3...", "shaker": "3...3...3...3..."},
        "1.......5.......", "0.1.2.3.1.2.3.2.", MAJOR, ((0, 5, 3, 4), (0, 4, 5, 3), (3, 4, 0, 0)),
        ("round", "piano", "strings"), (0.5, 0.5, 0.9, 0.45), chord_notes=4, chord_steps=6,
        bass_steps=8, bass_midi=41, chord_midi=62, lead_density=0.2, ghosts=(),
    ),
}  # fmt: skip
