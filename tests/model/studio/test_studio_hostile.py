"""What strangers may send to the studio: a readable message, and nothing else comes of it."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from clips import ffmpeg
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from studios import user_of, wait

from model.studio.guard import Guard, cookie_of
from model.studio.runs import Choice
from model.studio.users import Refused, new_token, safe_name

# ---------------------------------------------------------------- files


def hostile(folder: Path, dance: Path) -> dict[str, Path]:
    """Write the files of the drills' list that a browser can send."""
    data = dance.read_bytes()
    texts = {
        "playlist_file.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n{dance}\n",
        "playlist_url.mp4": "#EXTM3U\n#EXTINF:2.0,\nhttp://127.0.0.1:1/secret.ts\n#EXT-X-ENDLIST\n",
        "concat.mp4": f"ffconcat version 1.0\nfile '{dance}'\n",
        "text.mp4": "this is no video\n" * 100,
        "page.webm": "<html><script>alert(1)</script></html>",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    (folder / "zeros.mov").write_bytes(bytes(100_000))
    ffmpeg("-i", dance, "-vn", "-c:a", "copy", folder / "sound_alone.mp4")
    return {path.name: path for path in sorted(folder.iterdir())}


@pytest.mark.long
def test_hostile_videos_are_refused_with_a_reason_and_leave_nothing(opened, dance, tmp_path):
    made = opened()
    user = user_of(made)
    folder = tmp_path / "hostile"
    folder.mkdir()
    files = hostile(folder, dance)
    assert len(files) == 9
    for name, path in files.items():
        with pytest.raises(Refused) as refused:
            made.upload(user, path, name)
        words = str(refused.value)
        assert words.startswith(name) and len(words) > len(name) + 10, words
        assert str(made.users.work) not in words and "Traceback" not in words
    assert list(user.uploads.iterdir()) == []


def test_what_is_no_regular_file_of_a_known_kind_is_refused_unread(opened, dance, tmp_path):
    made = opened(upload_mb=0.5)
    user = user_of(made)
    link, pipe, large = (tmp_path / name for name in ("link.mp4", "pipe.mp4", "large.mp4"))
    link.symlink_to("/etc/passwd")
    os.mkfifo(pipe)
    with open(large, "wb") as file:
        file.truncate(600_000)
    for path, why in ((link, "regular"), (pipe, "regular"), (large, "at most 0.5 MB")):
        with pytest.raises(Refused, match=why):
            made.upload(user, path, path.name)
    for name in ("run.sh", "page.html", "a.mp4.py", "mp4", "", "..", "motion.pkl", "list.m3u8"):
        with pytest.raises(Refused, match="not a name of a file"):
            made.upload(user, dance, name)
    with pytest.raises(Refused, match="not arrived"):
        made.upload(user, tmp_path / "absent.mp4", "absent.mp4")
    song = shutil.copy(dance, tmp_path / "song.wav")
    with pytest.raises(Refused, match="not music that can be read") as refused:
        made.upload(user, Path(song), "song.wav", "song")
    assert str(made.users.work) not in str(refused.value)
    assert list(user.uploads.iterdir()) == []


@pytest.mark.long
def test_a_long_video_and_a_full_folder_are_refused(opened, dance):
    made = opened(duration_s=2.0)
    with pytest.raises(Refused, match=r"lasts 2\.2 s; at most 2 s"):
        made.upload(user_of(made), dance, "a.mp4")
    full = opened(user_gb=dance.stat().st_size * 1.5 / 1e9)
    user = user_of(full)
    full.upload(user, dance, "a.mp4")
    with pytest.raises(Refused, match=r"your files have .* delete"):
        full.upload(user, dance, "b.mp4")
    all_of_them = opened(total_gb=dance.stat().st_size * 1.5 / 1e9)
    with pytest.raises(Refused, match="the files of all users"):
        all_of_them.upload(user_of(all_of_them), dance, "a.mp4")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("dance.mp4", "dance.mp4"),
        ("My dance (1).MP4", "My_dance_1.mp4"),
        ("../../etc/cron.d/x.mp4", "x.mp4"),
        ("..\\..\\x.mp4", "x.mp4"),
        ("-i.mp4", "i.mp4"),
        ("$(touch a);'\"\n.mp4", "touch_a.mp4"),
        ("танец.mp4", "танец.mp4"),
        ("x" * 300 + ".mp4", "x" * 80 + ".mp4"),
    ],
)
def test_names_of_files_keep_only_harmless_characters(given, kept):
    assert safe_name(given, frozenset({".mp4"})) == kept


@pytest.mark.long
def test_folders_are_private_and_ids_have_one_form(opened, dance):
    made = opened()
    user = user_of(made)
    upload = made.upload(user, dance, "a.mp4")
    job = made.make(user, upload.id, Choice("notes"))
    wait(job)
    for folder in (user.folder, upload.folder, user.jobs / job.id):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0
    token = new_token()
    assert token not in str(made.users.user(token).folder)
    for name in ("../" + upload.id, "/etc", upload.id.upper(), upload.id + "\n", "", None, 3, []):
        with pytest.raises(Refused):
            made.make(user, name, Choice("notes"))
        with pytest.raises(Refused):
            made.file(user, name, "wav")
    for name in ("../job.json", "job.json", "facts.json", "log.txt", "/etc/passwd", "", None, {}):
        with pytest.raises(Refused, match="no such file"):
            made.file(user, job.id, name)
    for token in ("", "a" * 31, "../" * 12, "a" * 200, "ä" * 40):
        with pytest.raises(Refused, match="cookie"):
            made.users.user(token)


@pytest.mark.long
def test_facts_that_name_another_file_are_not_followed(opened, dance):
    made = opened()
    user = user_of(made)
    job = made.make(user, made.upload(user, dance, "a.mp4").id, Choice("notes"))
    wait(job)
    facts = made.queue.result(user, job) / "facts.json"
    text = facts.read_text(encoding="utf-8")
    for evil in ("../job.json", "/etc/passwd", "../../../../../lock"):
        facts.write_text(text.replace("dance.wav", evil), encoding="utf-8")
        with pytest.raises(Refused, match="no such file"):
            made.file(user, job.id, "wav")


# ---------------------------------------------------------------- requests


async def received(request) -> JSONResponse:
    await request.body()
    return JSONResponse(["/studio/received/abc/dance.mp4"])


async def anything(request) -> PlainTextResponse:
    return PlainTextResponse("reached " + request.url.path)


def client(hosts=("127.0.0.1",), body_bytes: int = 1000) -> TestClient:
    """Return a browser without a page, before a server that answers everything."""
    routes = [
        Route("/gradio_api/upload", received, methods=["POST"]),
        Route("/{path:path}", anything, methods=["GET", "HEAD", "POST"]),
    ]
    guard = Guard(Starlette(routes=routes), hosts, body_bytes)
    return TestClient(guard, base_url="http://127.0.0.1:7860", raise_server_exceptions=False)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=../../etc/passwd",
        "/gradio_api/file=%2fetc%2fpasswd", "/gradio_api/file%3d/etc/passwd",
        "/gradio_api/file=http://127.0.0.1:1/", "/gradio_api/file=file:///etc/passwd",
        "/gradio_api/file/etc/passwd", "/file=/etc/passwd", "/gradio_api/proxy=http://127.0.0.1:1/",
        "/media/../work/lock", "/media/..%2f..%2flock", "/media/%2e%2e/%2e%2e/lock",
        "/media/%252e%252e/lock", "/media//etc/passwd", "/media/a\\..\\b", "/media/%00",
        "/assets/../../etc/passwd", "/static/..%5c..%5cx", "/monitoring", "/gradio_api/deep_link",
        "/gradio_api/vibe-code", "/gradio_api/runs", "/gradio_api/custom_component/a/b/c/d",
        "/gradio_api/dev/reload", "/gradio_api/component_server", "/etc/passwd", "/.env", "/docs",
    ],
)  # fmt: skip
def test_paths_that_the_page_does_not_need_reach_nothing(path):
    found = client().get(path)
    assert found.status_code in (403, 404) and "reached" not in found.text


def test_the_pages_own_paths_are_answered_with_headers_that_forbid_other_machines():
    browser = client()
    for path in ("/", "/config", "/assets/index.js", "/media/0123456789abcdef/wav"):
        found = browser.get(path)
        assert found.text == "reached " + path
        assert "default-src 'self'" in found.headers["content-security-policy"]
        assert "http" not in found.headers["content-security-policy"]
        assert found.headers["x-content-type-options"] == "nosniff"


def test_a_received_file_is_served_only_to_the_user_who_sent_it():
    sender, other = client(), None
    sender.post("/gradio_api/upload", content=b"x")
    path = "/gradio_api/file=/studio/received/abc/dance.mp4"
    assert sender.get(path).status_code == 200
    other = TestClient(sender.app, base_url="http://127.0.0.1:7860")
    assert other.get(path).status_code == 403
    assert sender.get(path + "/../../def/dance.mp4").status_code == 403
    assert other.get(path, headers={"Cookie": "studio=" + "a" * 40}).status_code == 403


def test_a_user_gets_one_secret_that_scripts_of_the_page_cannot_read():
    browser = client()
    cookie = browser.get("/").headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    assert "set-cookie" not in browser.get("/").headers
    assert "set-cookie" in client().get("/", headers={"Cookie": "studio=short"}).headers
    assert client().get("/").headers["set-cookie"] != cookie
    for text in ("", "studio=", "a=b; studio=../../x", "studio=" + "a" * 31, ";;=;", "studio=ä"):
        assert cookie_of(text) == ""
    assert cookie_of("a=b; studio=" + "a" * 32) == "a" * 32


def test_large_bodies_and_other_names_of_the_server_are_refused():
    browser = client()
    assert browser.post("/gradio_api/upload", content=bytes(1001)).status_code == 413
    assert browser.post("/gradio_api/upload", content=bytes(999)).status_code == 200
    endless = (bytes(500) for _ in range(10))  # without a length
    assert browser.post("/gradio_api/upload", content=endless).status_code != 200
    assert browser.get("/", headers={"Host": "evil.example:7860"}).status_code == 421
    assert client(hosts=None).get("/", headers={"Host": "studio.example"}).status_code == 200
