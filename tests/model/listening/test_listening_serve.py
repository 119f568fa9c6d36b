"""The listening test: a server that gives nothing away, and loses no answer."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
import time
from urllib.parse import urlsplit

import httpx2
import pytest
from listening_sets import Listener, make_set, rows, start_server
from starlette.testclient import TestClient

from model.cli import main
from model.listening.plan import (
    answers_file,
    load_plan,
)
from model.listening.report import report
from model.listening.serve import STOP_S, addresses, create_app
from model.listening.store import IDLE_S, Store

# ---------------------------------------------------------------- serve: what is sent


def test_the_page_asks_for_nothing_from_elsewhere(app):
    reply = TestClient(app).get("/")
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy
    nonce = policy.split("script-src 'nonce-")[1].split("'")[0]
    assert reply.text.count(f'nonce="{nonce}"') == 2
    assert "{{" not in reply.text and "http://" not in reply.text and "https://" not in reply.text
    assert TestClient(app).get("/").headers["content-security-policy"] != policy
    for name, value in {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "x-frame-options": "DENY",
        "cache-control": "no-store",
    }.items():
        assert reply.headers[name] == value


def test_listeners_are_told_of_beeps_where_there_are_some(app, clock, tmp_path):
    assert Listener(app, clock, join=False).state()["beeps"] is True
    root = tmp_path / "without"
    folder, _ = make_set(root, 3, parts=("quality",), clip_s=0.05, raters=2, checks=0)
    without = create_app(folder, clock)
    assert Listener(without, clock).state()["beeps"] is False
    without.state.store.close()


def test_media_comes_in_ranges(app, clock):
    listener = Listener(app, clock)
    url = f"/media/{listener.next()}"
    whole = listener.client.get(url)
    assert whole.status_code == 200
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-type"] == "audio/wav"
    part = listener.client.get(url, headers={"Range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == whole.content[10:20]
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
    tail = listener.client.get(url, headers={"Range": "bytes=-7"})
    assert (tail.status_code, tail.content) == (206, whole.content[-7:])
    assert listener.client.get(url, headers={"Range": "bytes=999999-"}).status_code == 416
    head = listener.client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert "content-disposition" not in whole.headers


def test_the_server_works_without_the_key(folder, clock):
    (folder / "key.json").unlink()
    app = create_app(folder, clock)
    Listener(app, clock).rate(3)
    app.state.store.close()


# ---------------------------------------------------------------- serve: a listener's way


def test_a_listener_goes_through_the_whole_test_in_their_own_order(app, clock, folder):
    plan = load_plan(folder)
    first, second = Listener(app, clock), Listener(app, clock)
    done: list[list[str]] = [[], []]
    for place in range(len(plan.orders[0])):
        done[0].append(first.rate(1 + place % 5))
        done[1].append(second.rate(5 - place % 5))
    assert done == plan.orders[:2]
    assert done[0] != done[1]
    state = first.state()
    assert (state["item"], state["done"], state["total"]) == (None, 12, 12)
    given = rows(folder, "SELECT rater, item, score FROM answers ORDER BY rowid")
    for rater, score in ((0, lambda p: 1 + p % 5), (1, lambda p: 5 - p % 5)):
        mine = [(item, s) for r, item, s in given if r == rater]
        assert mine == [(item, score(p)) for p, item in enumerate(plan.orders[rater])]


def test_a_reload_and_a_new_server_come_back_to_the_same_clip(app, clock, folder):
    listener = Listener(app, clock)
    listener.rate(4)
    item = listener.hear()
    before = listener.state()
    assert before["item"] | {"heard": True, "id": item} == before["item"]
    assert listener.state() == before
    app.state.store.close()
    again = create_app(folder, clock)
    assert again.state.store.invitation == app.state.store.invitation
    back = Listener(again, clock, join=False)
    back.client.cookies = listener.client.cookies
    assert back.state() == before
    assert back.post("answer", {"item": item, "score": 2}).status_code == 200
    again.state.store.close()


def test_a_clip_must_be_played_before_it_is_rated(app, clock, folder):
    listener = Listener(app, clock)
    item, following = load_plan(folder).orders[0][:2]
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 409
    assert listener.post("heard", {"item": item}).status_code == 409
    assert listener.client.get(f"/media/{following}").status_code == 409
    assert listener.client.get(f"/media/{item}").status_code == 200
    clock.now -= 1
    assert listener.post("heard", {"item": item}).status_code == 409
    clock.now += 1
    assert not listener.state()["item"]["heard"]
    listener.hear()
    assert listener.post("answer", {"item": following, "score": 3}).status_code == 409
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 200
    assert listener.client.get(f"/media/{item}").status_code == 409
    assert rows(folder, "SELECT item, score FROM answers") == [(item, 3)]


def test_a_clock_that_was_set_back_stops_nobody(app, clock):
    listener = Listener(app, clock)
    assert listener.client.get(f"/media/{listener.next()}").status_code == 200
    clock.now -= 3600
    item = listener.next()
    assert listener.post("heard", {"item": item}).status_code == 409
    assert listener.hear() == item
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 200


def test_who_joins_again_keeps_the_place_until_the_test_is_done(app, clock, folder):
    invited = {"invitation": app.state.store.invitation}
    listener = Listener(app, clock)
    listener.rate(3)
    before = listener.state()
    for _ in range(20):
        assert listener.post("join", invited).json() == {"joined": True}
    assert listener.state() == before
    assert len(rows(folder, "SELECT * FROM raters")) == 1
    while listener.state()["item"]:
        listener.rate(3)
    assert listener.post("join", invited).status_code == 200  # another, at the same device
    assert listener.state()["done"] == 0
    assert len(rows(folder, "SELECT * FROM raters")) == 2


def test_a_full_set_gives_places_without_an_answer_to_others_after_a_while(app, clock, folder):
    plan = load_plan(folder)
    listeners = [Listener(app, clock) for _ in plan.orders]
    for number, listener in enumerate(listeners):
        if number not in (4, 7):
            listener.rate(3)
    assert listeners[4].client.get(f"/media/{plan.orders[4][0]}").status_code == 200
    late, invited = Listener(app, clock, join=False), {"invitation": app.state.store.invitation}
    assert late.post("join", invited).status_code == 409
    clock.now += IDLE_S + 60
    assert late.post("join", invited).status_code == 200
    assert late.next() == plan.orders[4][0]
    assert late.post("heard", {"item": late.next()}).status_code == 409
    assert late.rate(5) == plan.orders[4][0]
    assert not listeners[4].state()["joined"] and listeners[7].state()["joined"]
    assert Listener(app, clock).next() == plan.orders[7][0]
    assert Listener(app, clock, join=False).post("join", invited).status_code == 409
    assert len(rows(folder, "SELECT * FROM raters")) == len(plan.orders)


def test_who_is_at_their_first_clip_keeps_their_place_though_they_joined_long_ago(
    app, clock, folder
):
    listeners = [Listener(app, clock) for _ in load_plan(folder).orders]
    clock.now += IDLE_S + 60
    for listener in listeners:
        listener.hear()
    late, invited = Listener(app, clock, join=False), {"invitation": app.state.store.invitation}
    assert late.post("join", invited).status_code == 409
    clock.now += IDLE_S + 60
    assert late.post("join", invited).status_code == 200


def test_answers_to_a_set_of_the_first_schema_are_counted_and_no_more_are_taken(app, clock, folder):
    Listener(app, clock).rate(4)
    app.state.store.close()
    before = report(folder)["listeners"]
    for path in (folder / "key.json", folder / "served" / "plan.json"):
        raw = json.loads(path.read_text(encoding="utf-8")) | {"schema": 1}
        if raw.pop("beeps", None) is not None:
            raw["items"] = {n: {**item, "start_s": 1.5} for n, item in raw["items"].items()}
        path.write_text(json.dumps(raw), encoding="utf-8")
    assert report(folder)["listeners"] == before
    with pytest.raises(ValueError, match="prepare the set again"):
        create_app(folder)


def test_the_same_answer_twice_counts_once_and_another_is_refused(app, clock, folder):
    listener = Listener(app, clock)
    item = listener.rate(4)
    assert listener.post("answer", {"item": item, "score": 4}).status_code == 200
    assert listener.post("answer", {"item": item, "score": 5}).status_code == 409
    assert rows(folder, "SELECT item, score FROM answers") == [(item, 4)]


# ---------------------------------------------------------------- serve: a killed server


def test_serve_says_what_is_wrong_and_stops_on_ctrl_c(folder, capsys):
    server, link = start_server(folder)
    port = link.split(":")[2].split("/")[0]
    for wrong, code, told in ((port, 1, "give another"), ("99999", 2, "expected 0 to 65535")):
        with pytest.raises(SystemExit) as end:
            main(["mos", "serve", "--set", str(folder), "--port", wrong])
        assert end.value.code == code
        assert told in capsys.readouterr().err
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=60) == 130


def test_a_link_for_other_machines_names_this_one(folder):
    assert addresses("192.0.2.7") == ["192.0.2.7"]
    assert addresses("0.0.0.0") and addresses("::")
    server, link = start_server(folder, host="0.0.0.0")
    try:
        assert urlsplit(link).hostname not in ("0.0.0.0", "127.0.0.1")
        assert httpx2.get(link).status_code == 200
    finally:
        server.kill()
        server.wait()


@pytest.mark.long
def test_a_browser_that_holds_a_film_half_read_does_not_keep_the_server(folder):
    for path in (folder / "served" / "media").iterdir():
        path.write_bytes(bytes(12_000_000))
    server, link = start_server(folder)
    base, invitation = link.split("?invitation=")
    with httpx2.Client(base_url=base) as client:
        client.post("api/join", json={"invitation": invitation})
        with client.stream("GET", client.get("api/state").json()["item"]["url"]) as reply:
            chunks = reply.iter_raw()
            next(chunks)
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=STOP_S + 30) == 130


def test_what_is_no_file_of_answers_is_named_with_what_to_do(folder, capsys):
    (folder / "answers.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ValueError, match=r"answers\.db: file is not a database; .*move it away"):
        create_app(folder)
    with pytest.raises(ValueError, match=r"answers\.db: cannot read answers .*; give --set"):
        report(folder)
    with pytest.raises(SystemExit) as end:
        main(["mos", "serve", "--set", str(folder), "--port", "0"])
    assert end.value.code == 1
    assert "move it away" in capsys.readouterr().err


def test_a_new_set_that_another_server_is_opening_is_waited_for(folder):
    path = answers_file(folder)
    with sqlite3.connect(path, isolation_level=None, check_same_thread=False) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.5, other.execute, ("ROLLBACK",))
        release.start()
        Store(path, load_plan(folder)).close()
        release.join()


def test_an_answer_that_cannot_be_stored_is_asked_for_again(app, clock, folder, capsys):
    listener = Listener(app, clock)
    item = listener.hear()
    app.state.store._db.execute("PRAGMA query_only=ON")
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 503
    assert "answers.db: attempt to write a readonly database" in capsys.readouterr().err
    app.state.store._db.execute("PRAGMA query_only=OFF")
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 200


def test_an_answer_is_synced_before_it_is_acknowledged(app, folder):
    """SQLite syncs its log at every commit: mode FULL is number 2."""
    assert rows(folder, "PRAGMA journal_mode") == [("wal",)]
    assert app.state.store._db.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.long
def test_a_killed_server_loses_no_answer_that_was_acknowledged(folder):
    acknowledged: dict[tuple[int, str], int] = {}
    cookies: list[httpx2.Cookies] = [httpx2.Cookies() for _ in range(3)]
    server, link = start_server(folder)
    base, invitation = link.split("?invitation=")
    for number in range(3):
        reply = httpx2.post(f"{base}api/join", json={"invitation": invitation})
        cookies[number].update(reply.cookies)

    def listen(number: int, base: str) -> None:
        """Answer until the server is gone; the score of an item follows from its name."""
        with httpx2.Client(base_url=base, cookies=cookies[number], timeout=5) as client:
            try:
                while item := client.get("api/state").json()["item"]:
                    name, score = item["id"], 1 + int(item["id"], 16) % 5
                    client.get(item["url"]).raise_for_status()
                    while client.post("api/heard", json={"item": name}).status_code == 409:
                        time.sleep(0.005)
                    reply = client.post("api/answer", json={"item": name, "score": score})
                    assert reply.status_code == 200
                    acknowledged[number, name] = score
            except httpx2.TransportError:
                return

    for goal in (4, 13, 25, None):
        workers = [threading.Thread(target=listen, args=(n, base)) for n in range(3)]
        for worker in workers:
            worker.start()
        deadline = time.monotonic() + 60
        while goal and len(acknowledged) < goal and time.monotonic() < deadline:
            time.sleep(0.001)
        if goal is None:  # to the end of the test
            for worker in workers:
                worker.join()
        server.kill()
        server.wait()
        for worker in workers:
            worker.join()
        assert len(acknowledged) >= (goal or 0)
        given = {(r, i): s for r, i, s in rows(folder, "SELECT rater, item, score FROM answers")}
        assert acknowledged.items() <= given.items()
        assert all(score == 1 + int(item, 16) % 5 for (_, item), score in given.items())
        assert rows(folder, "PRAGMA integrity_check") == [("ok",)]
        if goal is not None:
            server, link = start_server(folder)
            base = link.split("?")[0]
    order = load_plan(folder).orders
    assert {key for key in given} == {(r, item) for r in range(3) for item in order[r]}
