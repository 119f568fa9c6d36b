"""Weights fetched from a server on 127.0.0.1 that drops, cuts, changes and lies."""

from __future__ import annotations

import fcntl
from dataclasses import replace
from urllib.request import Request

import pytest
from weight_server import BODY, Script, get, left, sha256

from model.contract.weights_folder import record_of
from pipeline.weights.download import DownloadError, _SameSecurity, download
from pipeline.weights.table import find


def test_a_file_is_fetched_once_checked_and_found(script, weight):
    assert get(weight) == [f"{script.target}: SHA-256 is right"]
    assert script.target.read_bytes() == BODY and find("toy") == script.target
    assert left(script) == ["w.pth", "w.pth.sha256"]
    assert record_of(script.target).read_text(encoding="utf-8") == f"{sha256(BODY)}  w.pth\n"
    assert "is there already; SHA-256 is right" in get(weight)[0]
    assert len(script.asked) == 1 and not script.placed_early


def test_dropped_connections_cost_only_what_was_in_flight(script, weight):
    script.drop_after = [100_000, 50_000, 0, 7]
    get(weight)
    assert script.target.read_bytes() == BODY and not script.placed_early
    starts = [asked.get("Range") for asked in script.asked]
    assert starts == [None, *(f"bytes={n}-" for n in (100_000, 150_000, 150_000, 150_007))]
    assert {asked["If-Range"] for asked in script.asked[1:]} == {'"one"'}


def test_a_later_command_goes_on_where_the_first_gave_up(script, weight):
    script.drop_after = [200_000, *[0] * 5]
    with pytest.raises(DownloadError, match=r"200,000 of 300,004 bytes.*200,000 bytes are kept"):
        get(weight)
    assert left(script) == ["w.pth.part", "w.pth.part.json"]
    get(weight)
    assert script.asked[-1]["Range"] == "bytes=200000-"
    assert script.target.read_bytes() == BODY
    assert left(script) == ["w.pth", "w.pth.sha256"]


def test_a_whole_part_is_put_in_place_without_asking_again(script, weight):
    download(script.url, script.target)
    assert left(script) == ["w.pth.part", "w.pth.part.json"]
    get(weight)
    assert len(script.asked) == 1 and script.target.read_bytes() == BODY


@pytest.mark.parametrize("etag", ['"one"', 'W/"weak"', ""])
def test_a_server_that_cannot_resume_sends_all_again(script, weight, etag):
    script.ranges, script.etag, script.drop_after = False, etag, [100_000, 200_000]
    get(weight)
    assert script.target.read_bytes() == BODY
    assert [("Range" in asked) for asked in script.asked[1:]] == [etag == '"one"'] * 2


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_meanwhile_is_not_mixed(script, weight, heeds):
    script.heeds_if_range, script.drop_after = heeds, [100_000, *[0] * 5]
    old = Script(body=bytes(len(BODY)))
    script.body = old.body
    with pytest.raises(DownloadError):
        get(weight)
    script.body, script.etag = BODY, '"two"'
    get(weight)
    assert script.target.read_bytes() == BODY


def test_an_answer_that_starts_elsewhere_is_not_appended(script, weight):
    script.shift, script.drop_after = 1, [100_000]
    get(weight)
    assert script.target.read_bytes() == BODY
    assert ["Range" in asked for asked in script.asked] == [False, True, False]


def test_another_size_is_refused_before_it_is_sent(script, weight):
    script.body = BODY[:-1]
    with pytest.raises(DownloadError, match=r"300,003 bytes there, expected 300,004"):
        get(weight)
    assert not script.target.exists()


@pytest.mark.parametrize("body", [BODY[:-1], BODY[:-1] + b"\0"], ids=["short", "wrong"])
def test_other_bytes_are_refused_with_both_hashes_named(script, weight, body):
    script.body = body
    with pytest.raises(ValueError, match=rf"{sha256(body)}, expected {sha256(BODY)}.*by its path"):
        get(replace(weight, size_bytes=None))
    assert left(script) == ["w.pth.refused"]
    script.body = BODY
    get(weight)
    assert script.target.read_bytes() == BODY


def test_a_page_in_place_of_the_file_is_refused(script, weight):
    script.body = b"<html>please log in</html>"
    with pytest.raises(ValueError, match=r"no PyTorch file.*<htm"):
        get(replace(weight, sha256="", size_bytes=None))
    assert not script.target.exists()


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (503, 5)])
def test_errors_of_the_server_say_where_to_put_the_file(script, weight, status, requests):
    script.status = status
    with pytest.raises(DownloadError, match=rf"HTTP status {status}.*at {script.target} by hand"):
        get(weight)
    assert len(script.asked) == requests


def test_without_a_network_the_error_says_where_to_put_the_file(script, weight):
    hint = rf"no connection.*300,004 bytes; SHA-256 {sha256(BODY)}\) at {script.target} by hand"
    with pytest.raises(DownloadError, match=hint):
        get(weight, "http://127.0.0.1:1/w.pth")
    with pytest.raises(DownloadError, match="expected an http or https address"):
        get(weight, "file:///etc/passwd")


def test_redirects_keep_the_encryption():
    request = Request("https://host/w.pth")
    with pytest.raises(DownloadError, match=r"from https to http://host/w\.pth: not followed"):
        _SameSecurity().redirect_request(request, None, 302, "", {}, "http://host/w.pth")
    kept = _SameSecurity().redirect_request(request, None, 302, "", {}, "https://cdn/w.pth")
    assert kept.full_url == "https://cdn/w.pth"


def test_two_downloads_of_one_file_do_not_mix(script, weight):
    script.target.parent.mkdir()
    with open(f"{script.target}.part", "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another download of this file is under way"):
            get(weight)
    get(weight)
