"""The audit of lookups: who asked what about whom, when, and what was answered.

The answer of a lookup need not wait for its audit, because the signed receipt in the asker's
hand is the proof: a thread writes such rows in groups, within 200 ms and before the process
ends. Rows that cannot be written wait, and when too many wait further lookups are refused. A
process that is killed loses those of its last moment; one that ends without its database loses
what waits, and logs how many.
"""

import json
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Date, Integer, LargeBinary, String, TextClause, Uuid, bindparam, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from registry.access import note_use
from registry.budgets import spend
from registry.consent import Reason
from registry.database import Database
from registry.errors import Kind, RegistryError
from registry.lookup import Answer
from registry.models import Lookup, Purpose, number_key
from registry.numbers import SubscriberNumber

log = logging.getLogger(__name__)

GROUP_SECONDS = 0.1
MOST_WAITING = 20_000
LAST_SECONDS = 5

_ASKED = {
    "postgresql": "SELECT n - 1 AS n, CAST(value->>0 AS smallint) AS item, value->>1 AS reason"
    " FROM json_array_elements(CAST(:asked AS json)) WITH ORDINALITY AS a (value, n)",
    "sqlite": "SELECT key AS n, json_extract(value, '$[0]') AS item,"
    " json_extract(value, '$[1]') AS reason FROM json_each(:asked)",
}
"""How each database reads a JSON list of [item, reason] as rows that are numbered from 0."""


def _statement(dialect: str) -> TextClause:
    """Build the insertion of a whole batch: one statement, however many numbers it has."""
    columns = Lookup.__table__.c
    return text(
        f"""
        INSERT INTO lookups (
            decided_at, id, item, asker_id, sender_id, sending_number, number, channel,
            message_class, topic, at, contact, reason, position
        )
        SELECT
            :decided_at, :id, item, :asker_id, :sender_id, :sending_number,
            substr(:tokens, CAST(16 * n + 1 AS INTEGER), 16), :channel, :message_class, :topic,
            :at, false, reason, :position
        FROM ({_ASKED[dialect]}) AS asked
        """  # noqa: S608 - put together from constants
    ).bindparams(
        bindparam("tokens", type_=LargeBinary),
        *(
            bindparam(name, type_=columns[name].type)
            for name in (
                "decided_at",
                "id",
                "asker_id",
                "sender_id",
                "sending_number",
                "channel",
                "message_class",
                "topic",
                "at",
                "position",
            )
        ),
    )


_STATEMENTS = {dialect: _statement(dialect) for dialect in _ASKED}
_ROWS = {
    "postgresql": postgresql.insert(Lookup).on_conflict_do_nothing(),
    "sqlite": sqlite.insert(Lookup).on_conflict_do_nothing(),
}
"""A row that is there already came from a try whose commit succeeded without our learning it."""


def write_batch(session: Session, answer: Answer) -> None:
    """Record a whole batch within its transaction. An item that is no number is not recorded."""
    asked = [
        (item, number, verdict.reason)
        for item, (number, verdict) in enumerate(
            zip(answer.question.numbers, answer.verdicts, strict=True)
        )
        if number is not None
    ]
    connection = session.connection()
    _count(session, Counter((answer.asker_id, _day(answer), reason) for _, _, reason in asked))
    row = _shared(answer)
    del row["contact"]
    connection.execute(
        _STATEMENTS[connection.dialect.name],
        {
            **row,
            "tokens": number_key(connection.dialect).tokens([number for _, number, _ in asked]),
            "asked": json.dumps([(item, reason) for item, _, reason in asked]),
        },
    )


def write(session: Session, answers: Sequence[Answer]) -> None:
    """Record answers to questions about one number each."""
    rows = [
        {
            **_shared(answer),
            "item": 0,
            "number": answer.question.numbers[0],
            "reason": answer.verdicts[0].reason,
        }
        for answer in answers
    ]
    connection = session.connection()
    connection.execute(_ROWS[connection.dialect.name], rows)
    told = ((answer.asker_id, _day(answer), answer.verdicts[0].reason) for answer in answers)
    _count(session, Counter(told))


_COUNT = text(
    """
    INSERT INTO lookup_counts (asker_id, day, reason, numbers)
    VALUES (:asker_id, :day, :reason, :numbers)
    ON CONFLICT (asker_id, day, reason)
    DO UPDATE SET numbers = lookup_counts.numbers + excluded.numbers
    """
).bindparams(
    bindparam("asker_id", type_=Uuid),
    bindparam("day", type_=Date),
    bindparam("reason", type_=String),
    bindparam("numbers", type_=Integer),
)


def _count(session: Session, told: Mapping[tuple[UUID, date, Reason], int]) -> None:
    """Count what organisations were told, so that an overview of it reads no audit.

    In one order, so that two processes never wait for each other's counts.
    """
    rows = [
        {"asker_id": asker_id, "day": day, "reason": reason.value, "numbers": numbers}
        for (asker_id, day, reason), numbers in sorted(told.items(), key=itemgetter(0))
    ]
    if rows:
        session.connection().execute(_COUNT, rows)


def _day(answer: Answer) -> date:
    return answer.decided_at.astimezone(UTC).date()


def _shared(answer: Answer) -> dict[str, Any]:
    question = answer.question
    return {
        "decided_at": answer.decided_at,
        "id": answer.id,
        "asker_id": answer.asker_id,
        "sender_id": answer.sender_id,
        "sending_number": question.sending.text,
        "channel": question.channel,
        "message_class": question.message_class,
        "topic": question.topic,
        "at": question.at,
        "contact": answer.contact,
        "position": answer.position,
    }


class Named(NamedTuple):
    """A number that an organisation asked about or asserted."""

    organisation_id: UUID
    purpose: Purpose
    day: date
    number: SubscriberNumber


class Recorder:
    """Writes audits, spent budgets and the use of keys in groups, in a thread of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[Answer] = []
        self._used_keys: dict[UUID, datetime] = {}
        self._named: list[Named] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to write; `close` ends it with everything written."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits, then end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def add(self, answer: Answer) -> None:
        """Take over an answer; raises `UNAVAILABLE` when too many could not be written."""
        if len(self._waiting) >= MOST_WAITING:
            raise RegistryError(
                Kind.UNAVAILABLE, "the audit of lookups cannot be written", retry_after=2
            )
        with self._lock:
            self._waiting.append(answer)

    def name(self, named: Named) -> None:
        """Take over a number that is to be counted against a budget."""
        with self._lock:
            self._named.append(named)

    def uncounted(self) -> int:
        """Return how many numbers wait to be counted."""
        return len(self._named)

    def key_used(self, key_id: UUID, now: datetime) -> None:
        """Note the use of a key."""
        with self._lock:
            self._used_keys[key_id] = now

    def _run(self) -> None:
        while not self._stop.wait(GROUP_SECONDS):
            self.flush()
        deadline = time.monotonic() + LAST_SECONDS
        while time.monotonic() < deadline:
            self.flush()
            if not (self._waiting or self._named):
                return
            time.sleep(GROUP_SECONDS)
        log.error("%d audits could not be written before the end", len(self._waiting))

    def flush(self) -> None:
        """Write what waits now; what cannot be written waits on."""
        with self._writing:
            self._write()

    def _write(self) -> None:
        with self._lock:
            answers, named = self._waiting[:], self._named[:]
            keys, self._used_keys = self._used_keys, {}
        if not (answers or named or keys):
            return
        try:
            with self._database.write() as session:
                if answers:
                    write(session, answers)
                _spend(session, named)
                note_use(session, keys)
        except SQLAlchemyError as error:
            log.error("audit not written, trying again: %s", type(error).__name__)
            with self._lock:
                self._used_keys = {**keys, **self._used_keys}
            return
        with self._lock:
            del self._waiting[: len(answers)], self._named[: len(named)]


def _spend(session: Session, named: Sequence[Named]) -> None:
    budgets: dict[tuple[UUID, Purpose, date], list[SubscriberNumber]] = defaultdict(list)
    for one in named:
        budgets[one.organisation_id, one.purpose, one.day].append(one.number)
    for (organisation_id, purpose, day), numbers in sorted(budgets.items(), key=itemgetter(0)):
        spend(session, organisation_id, purpose, numbers, day=day, budget=None)
