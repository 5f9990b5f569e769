"""The tables of the SQLite store, as numbered steps, and how its file is opened.

Rows refer to their session by its number and messages lie in the order they came, so that what is written at one time
lies on few pages: a third of the cost of an append with random ids as keys.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from chatbox.errors import StorageError

BUSY_TIMEOUT = 2.0
"""Seconds to wait when another program (a backup, a shell) holds SQLite's own lock."""

MIGRATIONS = (
    """
    CREATE TABLE sessions (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        user_id TEXT NOT NULL,
        epoch TEXT NOT NULL,
        name TEXT NOT NULL,
        user_name TEXT NOT NULL,
        model_id TEXT,
        start_time INTEGER NOT NULL,
        end_time INTEGER,
        last_activity INTEGER NOT NULL,
        is_active INTEGER NOT NULL,
        opened_at INTEGER,
        duration_ms INTEGER NOT NULL,
        message_count INTEGER NOT NULL,
        total_tokens INTEGER NOT NULL,
        response_times TEXT NOT NULL,
        help_state TEXT NOT NULL,
        help_requested INTEGER NOT NULL,
        admin_assisted INTEGER NOT NULL,
        assisting_admin_id TEXT,
        assisting_admin_name TEXT,
        share_token TEXT,
        share_hash TEXT,
        last_index INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        answer_id TEXT,
        context TEXT NOT NULL
    ) STRICT;
    CREATE INDEX sessions_by_user ON sessions (user_id, last_activity, id);
    CREATE INDEX sessions_active ON sessions (user_id) WHERE is_active = 1;
    CREATE INDEX sessions_answering ON sessions (number) WHERE answer_id IS NOT NULL;
    CREATE INDEX sessions_empty ON sessions (number) WHERE last_index = 0;
    CREATE INDEX sessions_by_share_token ON sessions (share_token) WHERE share_token IS NOT NULL;
    CREATE INDEX sessions_by_share_hash ON sessions (share_hash) WHERE share_hash IS NOT NULL;

    CREATE TABLE messages (
        number INTEGER PRIMARY KEY,
        session INTEGER NOT NULL,
        idx INTEGER NOT NULL,
        message_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        sender TEXT NOT NULL,
        content TEXT NOT NULL,
        timestamp INTEGER NOT NULL,
        model_id TEXT,
        file_id TEXT,
        file_url TEXT,
        metadata TEXT NOT NULL,
        superseded INTEGER NOT NULL,
        UNIQUE (session, idx),
        UNIQUE (session, message_id)
    ) STRICT;

    CREATE TABLE periods (
        session INTEGER NOT NULL,
        start INTEGER NOT NULL,
        end INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX periods_by_session ON periods (session);

    CREATE TABLE partials (
        session INTEGER PRIMARY KEY,
        answer_id TEXT NOT NULL,
        fence INTEGER NOT NULL,
        content TEXT NOT NULL
    ) STRICT;

    CREATE TABLE usage (
        user_id TEXT NOT NULL,
        day TEXT NOT NULL,
        tokens INTEGER NOT NULL,
        PRIMARY KEY (user_id, day)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE key_checks (key_id TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE probe (id INTEGER PRIMARY KEY, count INTEGER NOT NULL) STRICT;
    """,
    """
    DELETE FROM sessions WHERE last_index = 0 AND EXISTS (
        SELECT 1 FROM sessions AS newer
        WHERE newer.user_id = sessions.user_id AND newer.last_index = 0
        AND (newer.last_activity, newer.id) > (sessions.last_activity, sessions.id)
    );
    CREATE UNIQUE INDEX sessions_empty_of_user ON sessions (user_id) WHERE last_index = 0;
    """,
    """
    ALTER TABLE sessions ADD COLUMN help_since INTEGER;
    ALTER TABLE sessions ADD COLUMN assisted_since INTEGER;
    ALTER TABLE sessions ADD COLUMN assisted_index INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN staff_messages INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX sessions_waiting ON sessions (help_since) WHERE help_since IS NOT NULL;
    CREATE INDEX sessions_assisted ON sessions (assisting_admin_id) WHERE assisting_admin_id IS NOT NULL;

    CREATE TABLE takeovers (
        session INTEGER NOT NULL,
        idx INTEGER NOT NULL,
        admin_id TEXT NOT NULL,
        start INTEGER NOT NULL,
        end INTEGER NOT NULL,
        messages INTEGER NOT NULL,
        PRIMARY KEY (session, idx)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX takeovers_by_start ON takeovers (start);
    """,
    """
    CREATE TABLE records (
        number INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        key TEXT NOT NULL,
        at INTEGER NOT NULL,
        due INTEGER,
        version INTEGER NOT NULL,
        data TEXT NOT NULL,
        UNIQUE (kind, id)
    ) STRICT;
    CREATE INDEX records_by_time ON records (kind, at, id);
    CREATE INDEX records_by_key ON records (kind, key, at, id);
    CREATE INDEX records_due ON records (kind, due) WHERE due IS NOT NULL;
    """,
    """
    CREATE TABLE listed (
        admin_assisted INTEGER NOT NULL,
        help_requested INTEGER NOT NULL,
        start_time INTEGER NOT NULL,
        id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        end_time INTEGER,
        last_activity INTEGER NOT NULL,
        duration_ms INTEGER NOT NULL,
        message_count INTEGER NOT NULL,
        total_tokens INTEGER NOT NULL,
        long INTEGER NOT NULL,
        PRIMARY KEY (admin_assisted, help_requested, start_time, id)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO listed
        SELECT admin_assisted, help_requested, start_time, id, user_id, end_time, last_activity, duration_ms,
            message_count, total_tokens, NOT coalesce(
                end_time BETWEEN start_time AND start_time + 86400000
                AND last_activity BETWEEN start_time AND start_time + 86400000, FALSE)
        FROM sessions WHERE is_active = 0 AND last_index > 0 ORDER BY 1, 2, 3, 4;
    CREATE INDEX listed_by_end_time ON listed (admin_assisted, help_requested, long, end_time, id);
    CREATE INDEX listed_by_last_activity ON listed (admin_assisted, help_requested, long, last_activity, id);
    CREATE INDEX listed_by_duration ON listed (admin_assisted, help_requested, duration_ms, id);
    CREATE INDEX listed_by_message_count ON listed (admin_assisted, help_requested, message_count, id);
    CREATE INDEX listed_by_total_tokens ON listed (admin_assisted, help_requested, total_tokens, id);
    CREATE INDEX listed_by_user_id ON listed (admin_assisted, help_requested, user_id, id);

    CREATE TABLE listed_days (
        admin_assisted INTEGER NOT NULL,
        help_requested INTEGER NOT NULL,
        day INTEGER NOT NULL,
        sessions INTEGER NOT NULL,
        PRIMARY KEY (admin_assisted, help_requested, day)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO listed_days
        SELECT admin_assisted, help_requested, start_time - start_time % 86400000, count(*)
        FROM listed GROUP BY 1, 2, 3;

    CREATE INDEX periods_by_start ON periods (start);
    CREATE INDEX periods_by_end ON periods (end);
    CREATE INDEX takeovers_by_admin ON takeovers (admin_id, start);

    CREATE TABLE hours (
        at INTEGER PRIMARY KEY,
        opened INTEGER NOT NULL,
        closed INTEGER NOT NULL,
        late INTEGER NOT NULL,
        began INTEGER NOT NULL,
        peak INTEGER,
        version INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    INSERT INTO hours (at, opened, closed, late, began, peak)
        WITH moments (hour, late, step) AS (
            SELECT start - start % 3600000, start % 3600000, 1 FROM periods
            UNION ALL SELECT end - end % 3600000, end % 3600000, -1 FROM periods
        ), levels (hour, late, step, level) AS (
            SELECT *, sum(step) OVER (PARTITION BY hour ORDER BY late, step DESC ROWS UNBOUNDED PRECEDING) FROM moments
        )
        SELECT hour, sum(step = 1), sum(step = -1), sum(step * late), 0, max(max(level), 0) FROM levels GROUP BY hour;
    INSERT INTO hours (at, opened, closed, late, began, peak)
        SELECT start_time - start_time % 3600000, 0, 0, 0, count(*), 0 FROM sessions WHERE last_index > 0 GROUP BY 1
        ON CONFLICT (at) DO UPDATE SET began = excluded.began;

    CREATE TABLE tallies (
        width INTEGER NOT NULL,
        at INTEGER NOT NULL,
        messages INTEGER NOT NULL,
        answers INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        responses INTEGER NOT NULL,
        response_ms INTEGER NOT NULL,
        firsts INTEGER NOT NULL,
        first_ms INTEGER NOT NULL,
        response_max INTEGER NOT NULL,
        first_max INTEGER NOT NULL,
        PRIMARY KEY (width, at)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO tallies
        WITH counted (at, messages, answers, tokens, response_ms) AS (
            SELECT timestamp, 1, kind = 'ai_response', 0, NULL FROM messages
                WHERE kind IN ('user_message', 'ai_response', 'file_upload', 'voice_message')
            UNION ALL SELECT 1000 * strftime('%s', day), 0, 0, tokens, NULL FROM usage
            UNION ALL SELECT last_activity, 0, 0, 0, value FROM sessions, json_each(response_times)
        ), widths (width) AS (VALUES (60000), (3600000))
        SELECT width, at - at % width, sum(messages), sum(answers), 0, sum(tokens), count(response_ms),
            coalesce(sum(response_ms), 0), 0, 0, coalesce(max(response_ms), 0), 0
        FROM counted, widths GROUP BY 1, 2;
    """,
)


def connect(path: Path) -> sqlite3.Connection:
    """A connection for one thread at a time, which begins transactions only when told to.

    ``secure_delete``: what is deleted is overwritten with zeros, so that no sealed text waits in free pages for the day
    when its key leaks. It costs nothing on appends.
    """
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = ON")
    return db


def migrate(db: sqlite3.Connection, latest: int = len(MIGRATIONS)) -> None:
    """Bring the tables up to date, or to an earlier version, each step in a transaction of its own."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StorageError(f"the database has version {version}: a newer Chatbox wrote it, and this one can't read it")
    for number, step in enumerate(MIGRATIONS[version:latest], start=version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {number}; COMMIT")
