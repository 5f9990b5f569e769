"""Fill a new database with made-up sessions: `python -m bench.seed FILE --sessions 1000000 --seed 1`.

Written straight into the tables, and summed up by the step of the schema that does that for a database of an older
version. The same seed makes the same sessions; they have no messages. What there is, is in ``Shape``.
"""

from __future__ import annotations

import argparse
import math
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from msgspec.structs import replace

from chatbox.session import Help, Session
from chatbox.storage.overview import HOUR, MINUTE
from chatbox.storage.sqlite import rows, schema

UNTIL = 1_790_000_000_000
"""When the made-up time ends, in ms."""

DAY = 24 * HOUR
BATCH = 10_000
SUMMED_UP = 5
"""The step of the schema that sums up what there is."""

BUSY_USER = "user-busy"
STAFF = tuple(f"staff-{number}" for number in range(20))

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Shape:
    """``sessions`` began within so many ``days``, in even times. One in ``assisted`` was ever taken over, one in
    ``asked`` had asked for a person, one in ``returned`` was gone on with up to a month later. Users have about five.

    Of each million, ``busy`` belong to one user; beside them there are so many ``active`` ones, and ``empty`` ones.
    """

    sessions: int
    seed: int = 1
    days: int = 365
    active: int = 2_000
    empty: int = 500
    busy: int = 5_000
    assisted: int = 25
    asked: int = 15
    returned: int = 10

    @property
    def users(self) -> int:
        return max(1, self.sessions // 5)

    def share(self, of_million: int) -> int:
        return of_million * self.sessions // 1_000_000

    @property
    def total(self) -> int:
        return self.sessions + self.share(self.active) + self.share(self.empty)


class Made(NamedTuple):
    """Rows about one session."""

    session: Session
    periods: tuple[tuple[int, int], ...] = ()
    takeover: tuple[str, int, int, int] | None = None


def fill(path: Path, shape: Shape, progress: Progress) -> None:
    """Make the database at ``path``, which is not there yet."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000")
        schema.migrate(db, SUMMED_UP - 1)
        everything, done = sessions(shape), 0
        while batch := list(islice(everything, BATCH)):
            insert(db, done, batch)
            done += len(batch)
            progress(f"{done:,} of {shape.total:,} sessions")
        progress("summing up")
        schema.migrate(db)
        db.executescript(TALLIED)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    progress("")


def insert(db: sqlite3.Connection, before: int, batch: list[Made]) -> None:
    numbered = list(enumerate(batch, start=before + 1))
    db.execute("BEGIN")
    columns = ", ".join(rows.SESSION_COLUMNS)
    marks = ", ".join("?" * (1 + len(rows.SESSION_COLUMNS)))
    db.executemany(
        f"INSERT INTO sessions (number, {columns}) VALUES ({marks})",
        [(number, *rows.session_row(made.session)) for number, made in numbered],
    )
    db.executemany(
        "INSERT INTO periods VALUES (?, ?, ?)",
        [(number, *period) for number, made in numbered for period in made.periods],
    )
    db.executemany(
        "INSERT INTO takeovers VALUES (?, 3, ?, ?, ?, ?)",
        [(number, *made.takeover) for number, made in numbered if made.takeover],
    )
    db.execute("COMMIT")


TALLIED = f"""
    DELETE FROM tallies;
    INSERT INTO tallies
        WITH counted AS (
            SELECT start_time AS at, message_count AS messages, message_count / 2 AS answers, total_tokens AS tokens,
                json_extract(response_times, '$[0]') AS response FROM sessions WHERE last_index > 0
        ), widths (width) AS (VALUES ({MINUTE}), ({HOUR}))
        SELECT width, at - at % width, sum(messages), sum(answers), sum(answers > 20), sum(tokens), sum(answers),
            sum(answers * response), sum(answers), sum(answers * 300), max(response), 900
        FROM counted, widths GROUP BY 1, 2;
"""
"""What would have been counted of the messages, as if all of a session's came in its first minute."""


def sessions(shape: Shape) -> Iterator[Made]:
    random = Random(shape.seed)
    for number in range(shape.sessions):
        user_id = BUSY_USER if number < shape.share(shape.busy) else f"user-{int(shape.users * random.random() ** 1.5)}"
        yield over(random, shape, user_id)
    for number in range(shape.share(shape.active)):
        yield active(random, f"active-{number}")
    for number in range(shape.share(shape.empty)):
        yield Made(Session(id=name(random), user_id=f"new-{number}", epoch="e", start_time=UNTIL, last_activity=UNTIL))


def over(random: Random, shape: Shape, user_id: str) -> Made:
    """A session that has ended."""
    start = UNTIL - HOUR - int(random.random() * shape.days * DAY)
    periods = [(start, start + spell(random))]
    if random.randrange(shape.returned) == 0:
        again = periods[0][1] + int(random.random() ** 3 * 30 * DAY)
        if again < UNTIL - HOUR:
            periods.append((again, again + spell(random)))
    asked = random.randrange(shape.asked) == 0
    takeover = None
    if random.randrange(shape.assisted) == 0 or (asked and random.random() < 0.5):
        takeover = (random.choice(STAFF), start + 5_000, periods[0][1], random.randrange(1, 9))
    session = talked(random, user_id, start, end_time=periods[-1][1], last_activity=periods[-1][1])
    changed = {
        "duration_ms": sum(end - begin for begin, end in periods),
        "help_requested": asked,
        "admin_assisted": takeover is not None,
    }
    return Made(replace(session, **changed), tuple(periods), takeover)


def active(random: Random, user_id: str) -> Made:
    start = UNTIL - int(random.random() * 2 * HOUR)
    last = start + int(random.random() * (UNTIL - start))
    session = talked(random, user_id, start, last_activity=last, is_active=True, opened_at=start)
    return Made(replace(session, help_requested=random.random() < 0.1))


def talked(random: Random, user_id: str, start: int, **fields: Any) -> Session:
    """A session in which something was said."""
    messages = 2 + int(-6 * math.log(1 - random.random()))
    return Session(
        id=name(random),
        user_id=user_id,
        epoch=name(random),
        name="How do I change the address of an order?",
        user_name=user_id.title(),
        model_id="echo",
        start_time=start,
        message_count=messages,
        total_tokens=messages * random.randrange(20, 400),
        response_times=[random.randrange(200, 9_000) for _ in range(random.randrange(1, 6))],
        help_state=Help.NONE,
        last_index=messages + messages // 2 + 1,
        fence=messages // 2,
        **fields,
    )


def spell(random: Random) -> int:
    """How long somebody stays: minutes mostly."""
    return int(-8 * MINUTE * math.log(1 - random.random()))


def name(random: Random) -> str:
    return f"{random.getrandbits(128):032x}"[:22]


def told(line: str) -> None:
    """Show progress in one line."""
    sys.stderr.write(f"\r\x1b[K{line}")
    sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.seed", description="Make a database of made-up sessions.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    if chosen.file.exists():
        parser.error(f"{chosen.file} is there already; name a new file")
    begun = time.monotonic()
    fill(chosen.file, Shape(chosen.sessions, chosen.seed), told)
    size = chosen.file.stat().st_size / 2**20
    print(f"{chosen.sessions:,} sessions in {time.monotonic() - begun:.0f} s, {size:,.0f} MiB")


if __name__ == "__main__":
    main()
