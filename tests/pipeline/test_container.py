"""The container's images: what they copy and install, as whom they run, what they start."""

from __future__ import annotations

import re
import subprocess

from places import ROOT

CLUSTER = ROOT / "cluster"


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", "", (CLUSTER / "Containerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_image_copies_what_is_there_and_runs_as_nobody_special():
    found = instructions()
    assert found[0][0] == "FROM" and found[0][1].startswith("python:3.")
    copied = [rest.split() for word, rest in found if word == "COPY"]
    assert copied
    for *sources, _ in copied:
        for source in (s for s in sources if not s.startswith("--")):
            assert (ROOT / source).exists(), source
    packages = {name for *sources, _ in copied for name in sources}
    assert {"pipeline", "model", "manifests", "constraints.txt", "pyproject.toml"} <= packages
    for rest in (rest for word, rest in found if word == "RUN"):
        subprocess.run(["bash", "-n", "-c", rest], check=True)
    images = stages(found)
    assert list(images) == ["base", "studio", "node"]  # the last one needs no --target
    wanted = {"node": "'.[s3]' 'ray[default]' boto3", "studio": "'.[studio]'"}
    for name, packages in wanted.items():  # node: ray up's head asks AWS by boto3
        image = images[name]
        assert image[0][1] == f"base AS {name}"
        users = [rest for word, rest in image if word == "USER"]
        assert len(users) == 1 and users[0] not in ("root", "0")
        (installs,) = [rest for _, rest in image if "uv pip install" in rest]
        assert "-c constraints.txt" in installs and packages in installs
    assert not [rest for word, rest in images["base"] if word == "USER"]


def stages(found: list[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Return the instructions of each image by its name."""
    images: dict[str, list[tuple[str, str]]] = {}
    for word, rest in found:
        if word == "FROM":
            images[rest.split(" AS ")[1]] = []
        images[list(images)[-1]].append((word, rest))
    return images


def test_the_studios_image_starts_the_studio_with_options_that_exist(tmp_path):
    import json

    from model.cli import parser

    image = stages(instructions())["studio"]
    (command,) = [json.loads(rest) for word, rest in image if word == "CMD"]
    arguments = parser().parse_args(command[1:])
    assert command[0] == "model" and arguments.host == "0.0.0.0"
    (port,) = [rest for word, rest in image if word == "EXPOSE"]
    assert int(port) == arguments.port
    (volume,) = [rest for word, rest in image if word == "VOLUME"]
    assert volume.endswith(str(arguments.work.parent))


def test_the_image_has_what_the_package_is_built_from():
    """pyproject names a readme and a licence: without them the build stops."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    copied = " ".join(rest for word, rest in instructions() if word == "COPY").split()
    assert {project["readme"], *project["license-files"]} <= set(copied)
