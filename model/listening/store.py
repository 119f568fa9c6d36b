"""The answers, in SQLite: what is acknowledged is on the disk, and each listener sees their own.

Write-ahead log with synchronous=FULL: a transaction that returned survives a killed process and a
power cut. The rules of who may rate what, and when, are checked in the transaction that writes.
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
"""After so long a place without an answer is given to another, where all are taken."""
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
    """The item is none of this listener's, or is not there at all: the two look the same."""


class NotNow(Exception):
    """The item is another than the listener's next, unheard, or rated already."""


@dataclass(frozen=True)
class Answer:
    """One score, as the report reads it; `heard_at` and `answered_at` in seconds since 1970."""

    rater: int
    item: str
    score: int
    heard_at: float
    answered_at: float


class Store:
    """The answers of one set. Safe to call from several threads, and beside other processes.

    Raises ValueError where the file holds something else or cannot be written.
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
                f"{path}: {error}; where it is no file of answers, move it away; else end what "
                "else has it open, see that its disk has room, or copy the set to a disk of this "
                "machine: some network disks have no locks, which SQLite needs"
            ) from None
        if facts["set_id"] != plan.set_id:
            self._db.close()
            raise ValueError(f"{path}: holds answers to another set; move it away")
        self.invitation: str = facts["invitation"]

    def _open(self) -> dict[str, str]:
        """Make the tables where there are none, and return the facts."""
        deadline = time.monotonic() + BUSY_S
        while True:
            try:  # of two processes that turn a new file into WAL, one is refused without a wait
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
        """Admit a listener to the next order; return their secret token, or None where full.

        The token `held` of a test that is not done is returned as it is. Where all orders are
        taken, the one whose listener has been without an answer longest is given again, `IDLE_S`
        after they were last there.
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
        """Return whose token this is, or None."""
        with self._lock:
            return self._rater(self._db, token)

    def standing(self, rater: int) -> tuple[int, str | None, bool]:
        """Return how many answers a listener gave, the next item or None, and if it was heard."""
        with self._lock:
            return self._standing(self._db, rater)

    def send(self, rater: int, item: str, now: float) -> None:
        """Note that the clip goes out to its listener; NotYours or NotNow where it must not.

        The first time counts, unless it lies ahead: then the clock was set back since.
        """
        with self._transaction() as db:
            self._must_be_next(db, rater, item)
            db.execute(
                "INSERT INTO plays VALUES (?, ?, ?, NULL) ON CONFLICT (rater, item) DO UPDATE "
                "SET sent_at = excluded.sent_at WHERE sent_at > excluded.sent_at",
                (rater, item, now),
            )

    def hear(self, rater: int, item: str, now: float) -> None:
        """Note that the clip was played; NotNow where it cannot have been, since it was sent."""
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
        """Store a score; when this returns it is on the disk. The same score again changes nothing.

        Raises NotYours, NotNow, or ValueError for a score that is no whole number from 1 to 5.
        """
        if type(score) is not int or not 1 <= score <= 5:
            raise ValueError(f"score {score!r}; expected a whole number from 1 to 5")
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
        """Return whether the listener's next item, which this must be, was heard."""
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
        """Commit where the block ends well, else leave everything as it was."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")


def read_answers(path: Path, set_id: str) -> tuple[int, list[Answer]]:
    """Return how many listeners joined, and all answers by listener and time.

    Raises FileNotFoundError where nobody was asked yet, ValueError for another set's answers.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: not found; nobody was asked yet: model mos serve --set {path.parent}"
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
            f"{path}: no answers of a listening test can be read ({error}); give --set the "
            "folder that was served, whole and with its answers.db"
        ) from None
    if found != set_id:
        raise ValueError(f"{path}: holds answers to another set")
    return joined, [Answer(*row) for row in rows]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
