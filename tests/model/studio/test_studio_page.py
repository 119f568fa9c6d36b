"""The studio by HTTP, as scripts ask it: the client of Gradio, two users, a killed server."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from places import ROOT
from studio_stand_in import FAILS
from studios import film, start_server

gradio_client = pytest.importorskip(
    "gradio_client", reason="no Gradio here: install dance2music[studio]"
)
pytest.importorskip("gradio", reason="no Gradio here: install dance2music[studio]")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[dict]:
    """Run a studio; the fixture's dict holds its process, address and work folder."""
    work = tmp_path_factory.mktemp("studio") / "work"
    process, address = start_server(work, upload_mb=2.0, duration_s=10.0)
    running = {"process": process, "address": address, "work": work}
    assert get(running, "/config", {})[0] == 200  # the first answer may take long
    yield running
    running["process"].kill()
    running["process"].wait()


def client(server: dict, **more):
    more.setdefault("httpx_kwargs", {"timeout": 300})
    return gradio_client.Client(server["address"], verbose=False, **more)


def make(user, video: Path, run: str = "notes", seed: int = 0, options: str = "") -> dict:
    return user.predict(gradio_client.handle_file(video), run, seed, options, api_name="/make")


def cookie(user) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in user.cookies.items())}


def get(server: dict, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    asked = urllib.request.Request(server["address"].rstrip("/") + path, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=300) as found:
            return found.status, found.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.long
def test_the_ten_lines_of_the_guide_make_music(server, dance, tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs" / "guide" / "studio.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dance.mp4").write_bytes(dance.read_bytes())
    code = code.replace("http://127.0.0.1:7860", server["address"].rstrip("/"))
    exec(code.replace('"demo-notes"', '"notes"'), {})
    assert "--seed 7 --length-s 8 --video dance.mp4" in capsys.readouterr().out
    assert (tmp_path / "dance.wav").read_text(encoding="utf-8").endswith(" 7")
    assert (tmp_path / "dance.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.mark.long
def test_only_one_function_is_offered_to_scripts(server):
    found = client(server).view_api(return_format="dict", print_info=False)
    assert list(found["named_endpoints"]) == ["/make"]
    assert found["unnamed_endpoints"] == {}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("text.mp4", b"no video at all\n" * 99, "text.mp4: "),
        ("empty.mp4", b"", "the file is empty"),
        ("run.sh", b"#!/bin/sh\n", "not a name of a file that is taken here"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:2.0,\nfile:///etc/passwd\n", "list.mp4: "),
    ],
)
def test_a_hostile_upload_gets_a_readable_message(server, tmp_path, name, content, why):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Exception, match=re.escape(why)) as refused:
        make(client(server), path)
    assert str(server["work"]) not in str(refused.value)


def called(server: dict, headers: dict[str, str], *data: object) -> str:
    """Call `make` without the client, which would send each file that is named; return the end."""
    asked = urllib.request.Request(
        server["address"].rstrip("/") + "/gradio_api/call/make",
        json.dumps({"data": data}).encode(),
        {"Content-Type": "application/json", **headers},
    )
    try:
        with urllib.request.urlopen(asked, timeout=300) as found:
            event = json.loads(found.read())["event_id"]
    except urllib.error.HTTPError as error:
        return f"event: error {error.code}"
    return get(server, f"/gradio_api/call/make/{event}", headers)[1].decode()


@pytest.mark.long
def test_a_path_in_place_of_a_file_is_refused(server, dance):
    user = client(server)
    assert user.cookies
    other = client(server)
    make(other, dance)
    theirs = sorted((server["work"] / "received").rglob("*.mp4"))
    assert theirs
    before = len(list(server["work"].glob("users/*/uploads/*")))
    for path in ("/etc/passwd", "../../etc/passwd", dance, server["work"] / "lock", theirs[0]):
        value = {"path": str(path), "orig_name": "a.mp4", "meta": {"_type": "gradio.FileData"}}
        end = called(server, cookie(user), value, "notes", 0, "")
        assert "event: error" in end and "complete" not in end, end
    for value in (None, "", 3, [], {"url": "http://127.0.0.1:1/a.mp4", "orig_name": "a.mp4"}):
        end = called(server, cookie(user), value, "notes", 0, "")
        assert "event: error" in end and "complete" not in end, end
    assert len(list(server["work"].glob("users/*/uploads/*"))) == before


@pytest.mark.long
def test_wrong_choices_and_failed_jobs_say_why(server, dance):
    user = client(server)
    for run, seed, options, why in (
        ("absent", 0, "", "no run 'absent'"),
        ("notes", -3, "", "the seed is -3"),
        ("notes", 0, "guidance=2", "no option 'guidance'"),
        ("notes", 0, "a b", "expected NAME=VALUE"),
        ("notes", FAILS, "", "no dancer"),
    ):
        with pytest.raises(Exception, match=why):
            make(user, dance, run, seed, options)


@pytest.mark.long
def test_ten_uploads_of_two_users_at_once_are_not_mixed(server, tmp_path):
    users = [client(server), client(server)]
    films = [film(tmp_path, f"{name}.mp4") for name in ("one", "two")]
    asked = [(n % 2, n) for n in range(10)]
    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda job: make(users[job[0]], films[job[0]], seed=job[1]), asked))
    texts = []
    for (owner, seed), result in zip(asked, made, strict=True):
        status, data = get(server, result["wav"], cookie(users[owner]))
        assert status == 200
        digest, drawn = data.decode().split()
        assert int(drawn) == seed
        texts.append((owner, digest))
        for stranger in (cookie(users[1 - owner]), {}, {"Cookie": "studio=" + "a" * 40}):
            assert get(server, result["wav"], stranger)[0] == 404
    assert len(set(texts)) == 2


@pytest.mark.long
def test_after_kill_9_the_results_are_still_there(server, dance):
    user = client(server)
    result = make(user, dance, seed=5)
    before = get(server, result["wav"], cookie(user))
    server["process"].kill()
    server["process"].wait()
    port = urlsplit(server["address"]).port
    server["process"], server["address"] = start_server(server["work"], port, upload_mb=2.0)
    assert get(server, result["wav"], cookie(user)) == before
    assert not list(server["work"].rglob("part")) and not list(server["work"].rglob("part-*"))
    assert make(client(server), dance, seed=6)["title"].startswith("notes, seed 6")
