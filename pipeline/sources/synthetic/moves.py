"""The dance moves of each genre, as key poses written with an animator's controls.

A key pose is a line `both | left | right | body` of `control=value`. A control that is not in the
line keeps its value of the resting pose. Angles are in degrees, positions in centimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

SIDE = {"el": -72.0, "az": 12.0, "tw": 0.0, "elbow": 22.0, "flex": 8.0, "out": 8.0, "knee": 16.0,
        "toe": 12.0}  # fmt: skip
"""Controls of one side and their values in the resting pose.

el, az, tw: arm elevation (−90 hanging, 90 up), azimuth (forward) and twist; elbow; flex, out: hip
flexion and abduction; knee; toe: toes turned out.
"""

TORSO = ("lean", "side", "twist")
BODY = (*TORSO, "nod", "look", "pitch", "roll", "yaw", "x", "z", "hop")
"""Controls of the complete body; all are 0 in the resting pose.

lean, side, twist: torso; nod, look: head; pitch, roll, yaw: orientation; x, z: position; hop:
height of a jump midway to the next key pose.
"""

CONTROLS = tuple(f"{side}_{name}" for side in "lr" for name in SIDE) + BODY

Key = dict[str, float]


@dataclass(frozen=True)
class Moves:
    """How a genre moves: its moves (one key pose per beat), and how they are danced.

    `snap` ≥ 1 concentrates the movement midway between beats. `bounce` bends the knees on every
    other beat (degrees). `spread` is the standard deviation of the random angle changes (degrees).
    """

    moves: tuple[tuple[str, ...], ...]
    snap: float = 1.0
    bounce: float = 10.0
    spread: float = 6.0


def parse(line: str) -> Key:
    """Read a key pose; raise ValueError for an unknown control."""
    parts = [part.split() for part in line.split("|")]
    both, left, right, body = parts + [[]] * (4 - len(parts))
    words = [f"{side}_{word}" for side in "lr" for word in both]
    words += [f"l_{word}" for word in left] + [f"r_{word}" for word in right] + body
    key = {name: float(value) for name, _, value in (word.partition("=") for word in words)}
    if unknown := key.keys() - set(CONTROLS):
        raise ValueError(f"{line!r}: {sorted(unknown)} are not controls")
    return key


def mirror(key: Key) -> Key:
    """Return the mirrored pose: left and right are exchanged, and turns change their sign."""
    swap, signed = {"l_": "r_", "r_": "l_"}, {"side", "twist", "look", "roll", "yaw", "x"}
    return {
        swap.get(name[:2], name[:2]) + name[2:]: -value if name in signed else value
        for name, value in key.items()
    }


GENRE_MOVES = {
    "BR": Moves((
        ("el=-5 az=95 elbow=60 | flex=45 knee=35 | flex=-8 knee=30 | twist=-35 lean=18 yaw=-15",
         "el=5 az=-15 elbow=25 | flex=10 out=22 knee=30 | flex=10 out=22 knee=30 | lean=8 hop=6"),
        ("el=-60 az=-35 elbow=5 | flex=105 knee=125 out=22 | flex=75 knee=10 out=25 "
         "| lean=5 pitch=-22",
         "el=-55 az=60 elbow=5 | flex=105 knee=125 out=22 | flex=105 knee=125 out=22 "
         "| lean=45 pitch=20",
         "el=-60 az=-35 elbow=5 | flex=75 knee=10 out=25 | flex=105 knee=125 out=22 "
         "| lean=5 pitch=-22 yaw=35",
         "el=-20 az=80 elbow=80 | flex=100 knee=120 out=25 | flex=100 knee=120 out=25 | lean=20"),
        ("el=-45 az=70 elbow=70 | flex=80 knee=100 out=10 | flex=30 knee=70 out=30 "
         "| roll=62 lean=20",
         "el=-45 az=70 elbow=70 | flex=20 knee=20 out=35 | flex=75 knee=110 out=20 "
         "| roll=74 lean=10",
         "el=-10 az=85 elbow=60 | flex=85 knee=105 out=28 | flex=45 knee=80 out=10 | lean=15"),
    ), 1.5, 8),
    "PO": Moves((
        ("| el=0 az=10 tw=-90 elbow=90 | el=-60 elbow=90 | twist=15 look=40",
         "| el=0 az=80 tw=0 elbow=90 | el=0 az=10 tw=90 elbow=90 | twist=-15 look=-30"),
        ("el=-15 az=80 elbow=95 | knee=30 flex=16 | | lean=-12 side=8",
         "el=-72 az=0 elbow=10 | | knee=40 flex=24 out=18 | lean=10 side=-12 twist=18"),
        ("| el=0 az=0 elbow=0 | el=0 az=0 elbow=90 tw=-90 | side=12",
         "| el=0 az=0 elbow=90 tw=-90 | el=0 az=0 elbow=0 | side=-12",
         "el=10 az=0 elbow=100 tw=-90 | | | lean=-8",
         "el=-20 az=70 elbow=60 | | | lean=14"),
    ), 2.2, 6),
    "LO": Moves((
        ("| el=35 az=75 elbow=0 | el=-55 az=-25 elbow=100 | look=20 twist=-20",
         "el=-48 az=45 elbow=100 | knee=55 flex=40 out=14 | knee=55 flex=40 out=14 | lean=24"),
        ("el=20 az=20 elbow=130 tw=-80 | flex=70 knee=25 | | lean=-6 hop=5",
         "el=-48 az=45 elbow=105 | knee=45 flex=32 | flex=5 knee=40 out=25 | lean=18 twist=20"),
        ("el=55 az=30 elbow=60 tw=-60 | out=22 | out=22 | side=10",
         "el=-10 az=85 elbow=10 | knee=70 flex=60 | knee=70 flex=30 | lean=22"),
    ), 1.8, 10),
    "MH": Moves((
        ("el=-35 az=50 elbow=70 | knee=50 flex=34 | knee=50 flex=34 | lean=22 nod=18 x=-8",
         "el=-60 az=-15 elbow=40 | knee=12 | knee=12 out=20 | lean=-4 nod=-8 x=8"),
        ("| el=-10 az=80 elbow=40 knee=45 flex=28 | el=-55 az=-25 elbow=60 "
         "| twist=-25 side=10 lean=12",
         "| el=-60 az=-20 elbow=40 | el=5 az=75 elbow=45 knee=55 flex=40 out=20 "
         "| twist=25 side=-10 lean=14"),
        ("el=-20 az=20 elbow=110 | flex=60 knee=75 | knee=25 | lean=10 x=10",
         "el=-45 az=30 elbow=50 | knee=48 flex=34 out=20 | knee=48 flex=34 out=20 "
         "| lean=28 nod=15"),
    ), 1.4, 24),
    "LH": Moves((
        ("| el=5 az=55 elbow=20 | el=-50 az=40 elbow=80 | side=16 twist=22 look=15",
         "| el=-25 az=60 elbow=70 | el=-5 az=60 elbow=30 | side=-14 twist=-22 x=-8"),
        ("el=-25 az=70 elbow=110 | knee=70 flex=52 out=20 | knee=70 flex=52 out=20 | lean=30",
         "el=-50 az=10 elbow=70 tw=-40 | knee=30 flex=18 out=18 | knee=30 out=18 "
         "| lean=-10 nod=-12"),
        ("| el=30 az=40 elbow=110 tw=-60 | el=-60 | side=-18 look=-25 z=10",
         "| el=-55 az=50 elbow=60 | el=-20 az=80 elbow=15 flex=35 knee=60 | side=12 lean=16"),
    ), 1.4, 12),
    "HO": Moves((
        ("el=-40 az=55 elbow=85 | flex=52 knee=62 | knee=12 | lean=20 x=-14 hop=4",
         "el=-55 az=-10 elbow=60 | flex=-5 knee=18 out=24 | flex=5 knee=40 | lean=-8 x=14 hop=4"),
        ("el=-30 az=60 elbow=95 | knee=45 flex=32 out=18 | knee=45 flex=32 out=18 | lean=26",
         "el=-58 az=0 elbow=70 | knee=10 out=14 | knee=10 out=14 | lean=-14 nod=-10"),
        ("el=-20 az=30 elbow=70 | flex=35 knee=20 out=-12 | flex=0 knee=30 | yaw=25 x=-16 hop=5",
         "el=-20 az=10 elbow=40 | out=26 knee=20 | out=26 knee=20 | yaw=-10 hop=5"),
    ), 1.0, 12),
    "WA": Moves((
        ("| el=70 az=10 elbow=20 | el=25 az=20 elbow=135 tw=-80 | side=-14 look=20 x=8",
         "| el=20 az=25 elbow=140 tw=-80 | el=70 az=10 elbow=15 | side=14 look=-20 x=-8"),
        ("el=35 az=30 elbow=140 tw=-70 | flex=25 knee=45 | | side=10 lean=-8",
         "el=5 az=0 elbow=0 | | out=24 flex=5 | side=-12 lean=-4 twist=20"),
        ("| el=75 az=0 elbow=5 | el=-35 az=20 elbow=100 out=20 | side=18 look=35",
         "| el=-10 az=85 elbow=15 flex=35 knee=50 | el=60 az=0 elbow=120 tw=-80 "
         "| side=-10 twist=-25"),
    ), 1.6, 8),
    "KR": Moves((
        ("el=30 az=30 elbow=70 tw=-60 | flex=80 knee=85 out=15 | knee=35 flex=22 out=15 | lean=-12",
         "el=-40 az=70 elbow=40 | knee=65 flex=50 out=28 | knee=65 flex=50 out=28 "
         "| lean=38 nod=10"),
        ("| el=-5 az=95 elbow=5 knee=60 flex=45 out=25 "
         "| el=-20 az=-40 elbow=100 knee=30 out=25 | twist=-35 lean=20",
         "| el=-20 az=-40 elbow=100 knee=30 out=25 "
         "| el=-5 az=95 elbow=5 knee=60 flex=45 out=25 | twist=35 lean=20"),
        ("el=-30 az=-30 elbow=40 | knee=40 flex=25 out=26 | knee=40 flex=25 out=26 "
         "| lean=-22 nod=-20",
         "el=15 az=70 elbow=110 | knee=75 flex=60 out=28 | knee=75 flex=60 out=28 | lean=36 hop=8"),
    ), 1.7, 14, 8.0),
    "JS": Moves((
        ("el=0 az=10 elbow=10 | flex=85 knee=12 | flex=0 knee=8 | lean=-6 hop=5",
         "| el=0 az=80 elbow=20 flex=-12 knee=25 | el=0 az=0 elbow=10 flex=20 knee=45 "
         "| twist=18 x=8"),
        ("el=60 az=15 elbow=20 | out=38 knee=5 | knee=50 flex=35 out=15 | side=-16",
         "| el=-30 az=60 elbow=90 | el=5 az=0 elbow=5 out=30 | side=10 twist=-28 look=-40"),
        ("el=-15 az=75 elbow=50 | knee=40 flex=30 | knee=40 flex=5 | lean=10 yaw=90",
         "el=-10 az=80 elbow=80 | flex=45 knee=90 out=20 | | yaw=180 hop=4",
         "el=0 az=10 elbow=5 | out=26 knee=35 flex=25 | out=26 | yaw=270 side=8",
         "el=-50 az=20 | | | yaw=360 twist=-20"),
    ), 1.6, 6),
    "JB": Moves((
        ("el=68 az=20 elbow=35 tw=-40 | toe=35 knee=4 flex=2 | toe=35 knee=4 flex=2",
         "el=-5 az=25 elbow=20 | toe=42 knee=62 flex=42 out=26 | toe=42 knee=62 flex=42 out=26"),
        ("| el=15 az=60 elbow=5 knee=8 | el=5 az=-10 elbow=5 flex=-55 knee=8 | lean=34 yaw=50",
         "el=-40 az=40 elbow=40 | toe=35 | flex=15 knee=40 toe=35 | yaw=30"),
        ("el=-5 az=20 elbow=15 | toe=35 knee=45 flex=32 | flex=-15 knee=20 | twist=-15 yaw=90",
         "el=-10 az=75 elbow=60 | flex=55 knee=105 out=38 | knee=2 flex=0 | yaw=180",
         "el=55 az=25 elbow=35 | flex=55 knee=105 out=38 | knee=2 flex=0 | yaw=270",
         "el=0 az=10 elbow=10 | toe=35 out=24 knee=20 | toe=35 out=24 | yaw=360 side=10"),
        ("| el=60 az=10 elbow=15 out=68 knee=5 | el=0 az=5 elbow=10 knee=6 | side=-10 hop=3",
         "el=-35 az=50 elbow=40 | toe=40 knee=55 flex=40 | toe=40 knee=55 flex=40 | side=6"),
    ), 1.4, 6, 4.0),
}  # fmt: skip
