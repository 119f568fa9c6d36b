"""The runs that a studio offers: what each is, and what can be chosen for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from model.contract.dataset import Dataset
from model.contract.kinds import FAMILIES
from model.contract.segment import GENRES
from model.data.inputs import GENRE
from model.runtime.checkpoint import LAST
from model.runtime.exported import SHIPPED, located, read_run
from model.runtime.settings import override
from model.studio.users import Refused

SLIDERS = {"guidance": (0.0, 10.0), "temperature": (0.1, 2.0), "top_p": (0.05, 1.0)}
"""Options that the page shows as sliders, with their ranges."""
WORDS, STYLE = "prompt", "style"


@dataclass(frozen=True)
class RunFacts:
    """One run: what `--run` takes, what its results must say, and what can be chosen for it.

    `argument` is what the studio's commands are given, `given` what the user of the studio reads.
    `options` are the family's options with their defaults, as text; `genres` is empty if the run
    has no genre as an input; `needs_genre` says that it cannot be left out.
    """

    name: str
    argument: str
    family: str
    note: str
    options: Mapping[str, str] = field(default_factory=dict)
    genres: Sequence[str] = ()
    needs_genre: bool = False
    given: str = ""

    def default(self, option: str) -> float | None:
        """Return the default of a slider, its first level's; None if the family lacks it."""
        if option not in self.options:
            return None
        return float(self.options[option].partition(",")[0])


def describe(argument: str) -> RunFacts:
    """Return the facts of a run: a folder, or the name of a shipped model.

    Raises ValueError and OSError, as `load_run` does, if it cannot be read.
    """
    folder = located(Path(argument))
    content = read_run(folder, LAST)
    kind = FAMILIES.get(content["family"])
    config = override(kind.Config(), content["config"], str(folder))
    dataset = Dataset(**content["dataset"], splits={}, codecs={})
    takes_genre = GENRE in kind.inputs_of(config, dataset).specs
    shipped = folder in SHIPPED.values()
    labels = [content.get("note") or "", *(f"UNTRAINED {text}" for text in dataset.untrained)]
    if not content.get("note"):
        labels.append(f"trained for {content['step']} steps on the data set {dataset.name}")
    return RunFacts(
        name=argument if shipped else folder.resolve().name,
        argument=argument if shipped else str(folder.resolve()),
        family=content["family"],
        note="; ".join(filter(None, labels)),
        options={one.name: _text(one.default) for one in fields(kind.Options)},
        genres=GENRES if takes_genre else (),
        needs_genre=takes_genre and GENRE not in kind.optional,
        given=argument,
    )


def describe_all(arguments: Sequence[str]) -> dict[str, RunFacts]:
    """Return the runs by a name that is unique among them, in order."""
    found: dict[str, RunFacts] = {}
    for argument in arguments:
        facts = describe(argument)
        name = facts.name if facts.name not in found else facts.argument
        found[name] = facts
    return found


@dataclass(frozen=True)
class Choice:
    """What a user chose for one piece of music. Options that are None or "" keep the default."""

    run: str
    seed: int = 0
    length_s: float | None = None
    genre: str = ""
    words: str = ""
    settings: Mapping[str, float | str] = field(default_factory=dict)


def arguments_of(run: RunFacts, choice: Choice) -> list[str]:
    """Return the arguments of `model generate` for a choice, without the files.

    Raises Refused for a value that the run does not take.
    """
    seed = choice.seed
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise Refused(f"the seed is {seed!r:.40}; expected a whole number, 0 or more")
    found = ["--run", run.argument, "--seed", str(seed)]
    if choice.length_s is not None:
        length_s = choice.length_s
        if not isinstance(length_s, int | float) or not 0 < length_s <= 36_000:
            raise Refused(f"the length is {length_s!r:.40}; expected seconds, more than 0")
        found += ["--length-s", f"{length_s:g}"]
    if choice.genre:
        if choice.genre not in run.genres:
            known = ", ".join(run.genres) or "none"
            raise Refused(f"the run {run.name} does not take this genre; it takes: {known}")
        found += ["--genre", choice.genre]
    elif run.needs_genre:
        raise Refused(f"the run {run.name} needs a genre: choose one")
    if choice.words:
        if WORDS not in run.options:
            raise Refused(f"the run {run.name} (family {run.family}) takes no words")
        if len(choice.words) > 500 or not choice.words.isprintable():
            raise Refused("the words are too long, or have characters that cannot be printed")
        found.append(f"--prompt={choice.words}")
    for name, value in choice.settings.items():
        if name not in run.options or name in (WORDS, STYLE, "soundfont"):
            known = ", ".join(set(run.options) - {WORDS, STYLE, "soundfont"}) or "none"
            raise Refused(f"the family {run.family} has no option {name!r:.40}; it has: {known}")
        text = f"{value:g}" if isinstance(value, float) else str(value)
        if len(text) > 60 or not all(c.isalnum() or c in ".,_+-" for c in text):
            raise Refused(f"{name}: {text!r:.60} is not a number, a word, or a list of them")
        found += ["--set", f"{name}={text}"]
    return found


def settings_of(text: str) -> dict[str, str]:
    """Return options from text, `NAME=VALUE` separated by spaces; Refused if it is none."""
    found = {}
    for part in text.split():
        name, mark, value = part.partition("=")
        if not (mark and name.isidentifier() and value):
            raise Refused(f"{part!r:.60}: expected NAME=VALUE, separated by spaces")
        found[name] = value
    return found


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
