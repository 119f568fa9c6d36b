"""The answers, in SQLite: acknowledged answers are on disk, and listeners see only their own.

Uses a write-ahead log with synchronous=FULL, so a finished transaction survives a killed process
and a power failure. The rules about who may rate which item, and when, are checked in the same
transaction that writes.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from model.listening.plan import Plan

CLOCK_SLACK_S = 0.1
BUSY_S = 30.0
IDLE_S = 3600.0
"""Seconds after which a place without answers may go to another listener, if all are taken."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS raters (
    rater INTEGER PRIMARY KEY, token_sha256 TEXT NOT NULL UNIQUE, joined_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS plays (
    rater INTEGER NOT NULL REFERENCES raters, item TEXT NOT NULL,
    sent_at REAL NOT NULL, heard_at REAL, PRIMARY KEY (rater, item)
) STRICT;
CREATE TABLE IF NOT EXISTS answers (
    rater INTEGER NOT NULL REFERENCES raters, item TEXT NOT NULL,
    score INTEGER NOT NULL CHECK (score BETWEEN 1 AND 5), answered_at REAL NOT NULL,
    PRIMARY KEY (rater, item)
) STRICT;
"""


class NotYours(Exception):
    """The item belongs to another listener or does not exist; the response is the same for both."""


class NotNow(Exception):
    """The item is not the listener's next one, was not played, or is already rated."""


@dataclass(frozen=True)
class Answer:
    """One score, for the report; `heard_at` and `answered_at` are in seconds since 1970."""

    rater: int
    item: str
    score: int
    heard_at: float
    answered_at: float


class Store:
    """The answers of one set. Safe for use by several threads and processes.

    Raises ValueError if the file has other content or cannot be written.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self.plan = plan
        self._lock = threading.Lock()
        self._db = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            facts = self._open()
        except sqlite3.Error as error:
            self._db.close()
            raise ValueError(
                f"{path}: {error}; if it is not a file of answers, move it away; else end other "
                "programs that use it, check that its disk has free space, or copy the set to a "
                "local disk: SQLite needs file locks, which some network disks lack"
            ) from None
        if facts["set_id"] != plan.set_id:
            self._db.close()
            raise ValueError(f"{path}: holds answers to another set; move the file away")
        self.invitation: str = facts["invitation"]

    def _open(self) -> dict[str, str]:
        """Create the tables if they are missing, and return the facts."""
        deadline = time.monotonic() + BUSY_S
        while True:
            try:  # if two processes switch a new file to WAL, one fails at once
                self._db.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA foreign_keys=ON")
        self._db.executescript(SCHEMA)
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO facts VALUES ('set_id', ?)", (self.plan.set_id,))
            secret = secrets.token_urlsafe(12)
            db.execute("INSERT OR IGNORE INTO facts VALUES ('invitation', ?)", (secret,))
            return dict(db.execute("SELECT name, value FROM facts"))

    def close(self) -> None:
        self._db.close()

    def join(self, now: float, held: str = "") -> str | None:
        """Assign the next order to a new listener; return a secret token, or None if all are taken.

        If `held` is the token of an unfinished test, it is returned unchanged. If all orders are
        taken, one without answers whose listener was last active more than `IDLE_S` ago is assigned
        again: that of the listener who joined first.
        """
        token = secrets.token_urlsafe(24)
        with self._transaction() as db:
            rater = self._rater(db, held)
            if rater is not None and self._standing(db, rater)[1] is not None:
                return held
            (rater,) = db.execute("SELECT count(*) FROM raters").fetchone()
            if rater >= len(self.plan.orders):
                idle = db.execute(
                    "SELECT rater FROM raters WHERE rater NOT IN (SELECT rater FROM answers) AND "
                    "max(joined_at, coalesce((SELECT max(max(sent_at, coalesce(heard_at, 0))) "
                    "FROM plays WHERE plays.rater = raters.rater), 0)) < ? "
                    "ORDER BY joined_at LIMIT 1",
                    (now - IDLE_S,),
                ).fetchone()
                if idle is None:
                    return None
                (rater,) = idle
                db.execute("DELETE FROM plays WHERE rater = ?", (rater,))
            db.execute(
                "INSERT INTO raters VALUES (?, ?, ?) ON CONFLICT (rater) DO UPDATE SET "
                "token_sha256 = excluded.token_sha256, joined_at = excluded.joined_at",
                (rater, _hash(token), now),
            )
        return token

    def rater(self, token: str) -> int | None:
        """Return the listener of a token, or None."""
        with self._lock:
            return self._rater(self._db, token)

    def standing(self, rater: int) -> tuple[int, str | None, bool]:
        """Return a listener's number of answers, the next item or None, and if it was played."""
        with self._lock:
            return self._standing(self._db, rater)

    def send(self, rater: int, item: str, now: float) -> None:
        """Record that a clip is sent to its listener; NotYours or NotNow if that is not allowed.

        The time of the first sending is kept, unless it is in the future because the clock was set
        back since then.
        """
        with self._transaction() as db:
            self._must_be_next(db, rater, item)
            db.execute(
                "INSERT INTO plays VALUES (?, ?, ?, NULL) ON CONFLICT (rater, item) DO UPDATE "
                "SET sent_at = excluded.sent_at WHERE sent_at > excluded.sent_at",
                (rater, item, now),
            )

    def hear(self, rater: int, item: str, now: float) -> None:
        """Record that a clip was played; NotNow if the time since it was sent is too short."""
        with self._transaction() as db:
            self._must_be_next(db, rater, item)
            query = "SELECT sent_at FROM plays WHERE rater = ? AND item = ?"
            row = db.execute(query, (rater, item)).fetchone()
            if row is None or now - row[0] < self.plan.items[item].duration_s - CLOCK_SLACK_S:
                raise NotNow("play the clip to its end first")
            db.execute(
                "UPDATE plays SET heard_at = ? WHERE rater = ? AND item = ? AND heard_at IS NULL",
                (now, rater, item),
            )

    def answer(self, rater: int, item: str, score: int, now: float) -> None:
        """Store a score, which is on disk when this returns. Repeating the same score is allowed.

        Raises NotYours, NotNow, or ValueError for a score that is not an integer from 1 to 5.
        """
        if type(score) is not int or not 1 <= score <= 5:
            raise ValueError(f"score {score!r}; expected an integer from 1 to 5")
        with self._transaction() as db:
            query = "SELECT score FROM answers WHERE rater = ? AND item = ?"
            if (given := db.execute(query, (rater, item)).fetchone()) is not None:
                if given[0] != score:
                    raise NotNow("rated already")
                return
            if not self._must_be_next(db, rater, item):
                raise NotNow("play the clip to its end first")
            db.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", (rater, item, score, now))

    def _rater(self, db: sqlite3.Connection, token: str) -> int | None:
        query = "SELECT rater FROM raters WHERE token_sha256 = ?"
        row = db.execute(query, (_hash(token),)).fetchone()
        return None if row is None else row[0]

    def _must_be_next(self, db: sqlite3.Connection, rater: int, item: str) -> bool:
        """Return whether an item was played; NotYours or NotNow if it is not the next one."""
        _, following, heard = self._standing(db, rater)
        if item not in self.plan.orders[rater]:
            raise NotYours("no such clip")
        if item != following:
            raise NotNow("not the clip to rate now")
        return heard

    def _standing(self, db: sqlite3.Connection, rater: int) -> tuple[int, str | None, bool]:
        query = "SELECT count(*) FROM answers WHERE rater = ?"
        (done,) = db.execute(query, (rater,)).fetchone()
        order = self.plan.orders[rater]
        if done >= len(order):
            return done, None, False
        query = "SELECT heard_at FROM plays WHERE rater = ? AND item = ?"
        row = db.execute(query, (rater, order[done])).fetchone()
        return done, order[done], row is not None and row[0] is not None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit if the block ends without error, else roll back."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")


def read_answers(path: Path, set_id: str) -> tuple[int, list[Answer]]:
    """Return the number of listeners who joined, and all answers, sorted by listener and time.

    Raises FileNotFoundError if the test was not served yet, ValueError for another set's answers.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: not found; serve the test first: model mos serve --set {path.parent}"
        )
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            (found,) = db.execute("SELECT value FROM facts WHERE name = 'set_id'").fetchone()
            (joined,) = db.execute("SELECT count(*) FROM raters").fetchone()
            rows = db.execute(
                "SELECT rater, item, score, heard_at, answered_at FROM answers "
                "JOIN plays USING (rater, item) ORDER BY rater, answered_at"
            ).fetchall()
    except (sqlite3.Error, TypeError) as error:
        raise ValueError(
            f"{path}: cannot read answers of a listening test ({error}); give --set the complete "
            "folder that was served, with its answers.db"
        ) from None
    if found != set_id:
        raise ValueError(f"{path}: holds answers to another set")
    return joined, [Answer(*row) for row in rows]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
