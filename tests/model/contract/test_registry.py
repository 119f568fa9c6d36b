"""Things chosen by name: the project's own and those of installed packages."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError

import pytest

from model.contract import registry
from model.contract.registry import Registry

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that puts a package with entry points on the path, as an installer does."""
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._entry_points.cache_clear()

    def put(package: str, code: str, points: str) -> None:
        (tmp_path / f"{package}.py").write_text(code, encoding="utf-8")
        info = tmp_path / f"{package}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(METADATA.format(name=package), encoding="utf-8")
        (info / "entry_points.txt").write_text(points, encoding="utf-8")
        registry._entry_points.cache_clear()

    yield put
    registry._entry_points.cache_clear()


TOOLS = Registry("tools", "tool", {"hammer": "json:dumps", "saw": "json:loads"})


def test_a_plugin_is_listed_without_being_imported_and_found_by_name(install):
    install("nails_of_ours", "def nail(): return 7", "[dance2music.tools]\nnail=nails_of_ours:nail")
    assert TOOLS.names() == ["hammer", "saw", "nail"]
    assert "nails_of_ours" not in sys.modules
    assert TOOLS.get("nail")() == 7 and TOOLS.get("hammer")(1) == "1"


def test_an_unknown_name_lists_what_there_is_with_a_guess():
    with pytest.raises(ValueError, match=r"unknown tool 'hamer'; there are: hammer, saw; did you"):
        TOOLS.get("hamer")
    with pytest.raises(ArgumentTypeError, match=r"there are: hammer, saw, none; did you mean 'no"):
        TOOLS.choice("none")("non")
    assert TOOLS.choice("none")("none") == "none" and TOOLS.choice()("saw") == "saw"


def test_a_plugin_that_fails_to_import_is_named_and_nothing_else_suffers(install):
    install("broken_one", "import no_such_module", "[dance2music.tools]\nbad=broken_one:bad")
    assert TOOLS.get("saw")("1") == 1 and "bad" in TOOLS.names()
    with pytest.raises(ValueError, match=r"tool 'bad' of the package broken_one.*no_such_module"):
        TOOLS.get("bad")


def test_a_name_that_two_packages_claim_is_refused_naming_both(install):
    install("one_saw", "saw = 1", "[dance2music.tools]\nsaw=one_saw:saw")
    with pytest.raises(ValueError, match="several packages: dance2music, one_saw; uninstall"):
        TOOLS.get("saw")
    assert TOOLS.names() == ["hammer", "saw"]
