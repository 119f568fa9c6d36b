"""The listening test: what strangers may ask of the server, and what they do not get."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
from listening_sets import Listener, rows

from model.listening.plan import (
    load_plan,
)
from model.listening.report import report
from model.listening.serve import create_app

SECRETS = ("key.json", "answers.db", "plan.json")


@pytest.mark.parametrize(
    "score",
    ["0", "6", "-1", "3.0", "3.5", '"5"', "true", "null", "1e9", "1e999", "NaN", "Infinity",
     "99999999999999999999999", "[3]", '{"score": 3}', "0x3", "3 3", ""],
)  # fmt: skip
def test_a_score_that_is_none_is_refused(app, clock, folder, score):
    listener = Listener(app, clock)
    item = listener.hear()
    body = f'{{"item": "{item}", "score": {score}}}'
    reply = listener.client.post(
        "/api/answer", content=body, headers={"Content-Type": "application/json"}
    )
    assert reply.status_code == 422, reply.text
    assert rows(folder, "SELECT * FROM answers") == []
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 200


@pytest.mark.parametrize("score", [0, 6, 3.0, "5", True, None, float("nan")])
def test_neither_the_store_nor_the_table_takes_such_a_score(app, clock, folder, score):
    listener = Listener(app, clock)
    item = listener.hear()
    with pytest.raises(ValueError, match="expected an integer from 1 to 5"):
        app.state.store.answer(0, item, score, clock.now)
    if score in (0, 6, None):
        with sqlite3.connect(folder / "answers.db") as db, pytest.raises(sqlite3.IntegrityError):
            db.execute("INSERT INTO answers VALUES (0, ?, ?, 0)", (item, score))


def test_a_body_that_is_none_is_refused(app, clock, folder):
    listener = Listener(app, clock)
    item = listener.hear()
    good = {"item": item, "score": 3}

    def status(content: bytes | str, kind: str = "application/json") -> int:
        headers = {"Content-Type": kind}
        return listener.client.post("/api/answer", content=content, headers=headers).status_code

    assert status(json.dumps(good), "text/plain") == 415
    assert status(f"item={item}&score=3", "application/x-www-form-urlencoded") == 415
    assert status(json.dumps(good | {"pad": "x" * 2000})) == 413
    assert listener.client.post(
        "/api/answer", content=(b"[" for _ in range(5000)),
        headers={"Content-Type": "application/json"},
    ).status_code == 413  # fmt: skip
    for content in ("", "{", "[]", "null", "[" * 900, b"\xff\xfe", json.dumps(good | {"rater": 1}),
                    '{"score": 3}', '{"item": 7, "score": 3}',
                    json.dumps({"item": "x" * 200, "score": 3})):  # fmt: skip
        assert status(content) == 422, content
    assert rows(folder, "SELECT * FROM answers") == []


def test_nobody_rates_or_hears_what_is_not_theirs(app, clock, folder):
    plan = load_plan(folder)
    listener = Listener(app, clock)
    item = listener.hear()
    foreign = sorted(set(plan.items) - set(plan.orders[0]))
    assert foreign
    sql = "x' OR '1'='1"
    for name in (foreign[0], "0" * 16, sql, "'; DROP TABLE answers; --", "", "../key.json"):
        for path, body in (("answer", {"item": name, "score": 3}), ("heard", {"item": name})):
            assert listener.post(path, body).status_code == 404, name
    assert listener.client.get(f"/media/{foreign[0]}").status_code == 404
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 200
    assert len(rows(folder, "SELECT * FROM answers")) == 1


def test_a_path_leads_nowhere_but_to_one_s_own_clip(app, clock, folder):
    listener = Listener(app, clock)
    key = (folder / "key.json").read_bytes()
    file = load_plan(folder).items[listener.next()].file
    for path in (
        *(f"/{name}" for name in SECRETS),
        *(f"/media/{up}{name}" for name in SECRETS for up in ("../", "../../", "..%2f..%2f")),
        *(f"/media/%2e%2e/%2e%2e/{name}" for name in SECRETS),
        *("/served/plan.json", f"/served/media/{file}", f"/media/{file}", "/media/", "/media/%00"),
        *("/media//etc/passwd", "/media/%2fetc%2fpasswd", "/media/..%5c..%5ckey.json"),
        *("/docs", "/openapi.json", "/redoc", "/api/answers", "/api/report", "/api/raters"),
        *("/api/state/0", "/api/answer", "/.git/config"),
    ):  # fmt: skip
        reply = listener.client.get(path)
        assert reply.status_code in (404, 405), path
        assert key[20:60] not in reply.content
        assert len(reply.content) < 100


def test_without_the_own_token_there_is_no_way_in(app, clock, folder):
    first, second = Listener(app, clock), Listener(app, clock, join=False)
    first.rate(5)
    item = first.hear()
    cookie = next(iter(first.client.cookies.jar))
    for value in ("", "0", "1", "' OR 1=1 --", cookie.value[:-1], cookie.value + "x", "é"):
        headers = {"Cookie": f"{cookie.name}={value}".encode("latin-1")}
        state = second.client.get("/api/state", headers=headers).json()
        assert not state["joined"] and "item" not in state and "done" not in state
        for path in (f"media/{item}", "api/heard", "api/answer"):
            method = "GET" if path.startswith("media") else "POST"
            body = {"item": item} | ({"score": 1} if path.endswith("answer") else {})
            reply = second.client.request(method, f"/{path}", json=body, headers=headers)
            assert reply.status_code == 401
    assert [score for (score,) in rows(folder, "SELECT score FROM answers")] == [5]


def test_nobody_reads_the_answers_of_others(app, clock, folder):
    first, second = Listener(app, clock), Listener(app, clock)
    items = [first.rate(score) for score in (5, 4, 3, 2, 1)]
    state = second.state()
    assert state["done"] == 0
    assert set(state) == {"joined", "total", "minutes", "parts", "beeps", "done", "item"}
    assert set(state["item"]) == {"id", "part", "url", "duration_s", "practice", "heard"}
    taken = second.post("answer", {"item": items[0], "score": 1})
    assert taken.status_code in (404, 409)
    assert "5" not in taken.text
    (cookie,) = second.client.cookies.jar
    assert len(cookie.value) >= 32
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"
    stored = (folder / "answers.db").read_bytes() + (folder / "answers.db-wal").read_bytes()
    assert cookie.value.encode() not in stored
    assert stat.S_IMODE((folder / "answers.db").stat().st_mode) == 0o600


def test_only_the_invited_join_and_only_as_many_as_there_are_orders(app, clock, folder):
    stranger = Listener(app, clock, join=False)
    for word in ("", "guess", "é", app.state.store.invitation[:-1]):
        assert stranger.post("join", {"invitation": word}).status_code == 403
    assert rows(folder, "SELECT * FROM raters") == []
    for _ in range(12):
        Listener(app, clock)
    full = stranger.post("join", {"invitation": app.state.store.invitation})
    assert full.status_code == 409 and "full" in full.text
    assert len(rows(folder, "SELECT * FROM raters")) == 12


@pytest.mark.long
def test_answers_of_another_set_are_not_mixed_in(app, clock, folder, films, tmp_path):
    Listener(app, clock).rate(3)
    app.state.store.close()
    other = shutil.copytree(films[0], tmp_path / "other")
    shutil.copy(folder / "answers.db", other / "answers.db")
    with pytest.raises(ValueError, match="another set"):
        create_app(Path(other))
    with pytest.raises(ValueError, match="another set"):
        report(Path(other))


def test_a_plan_that_names_files_elsewhere_is_refused(folder):
    path = folder / "served" / "plan.json"
    plan = json.loads(path.read_text(encoding="utf-8"))
    next(iter(plan["items"].values()))["file"] = "../../key.json"
    path.write_text(json.dumps(plan), encoding="utf-8")
    with pytest.raises(ValueError, match="prepare the set again"):
        create_app(folder)
