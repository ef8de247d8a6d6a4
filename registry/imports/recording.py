"""What the lines of a group say is recorded, each once, by the use case of its kind."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from registry import ledger, senders
from registry.database import Clock, lock_numbers
from registry.errors import Kind, RegistryError
from registry.imports.kinds import Question, Resource, Wish
from registry.imports.lines import Line
from registry.ledger import bulk
from registry.ledger.bulk import LineResult, Outcome
from registry.models import (
    ApplicationState,
    ConsentRequest,
    ImportKind,
    NumberClaim,
    Organisation,
    SenderNumber,
)
from registry.policy import Policy

GROUPS: Mapping[ImportKind, int] = {
    ImportKind.CONSENTS: bulk.GROUP,
    ImportKind.REQUESTS: 200,
    ImportKind.REFUSALS: bulk.GROUP,
    ImportKind.REASSIGNMENTS: 200,
    ImportKind.NUMBERS: 100,
}
"""Lines of a transaction: fewer where each takes statements of its own."""
_MOST_SENDERS = 10_000
"""Social credit codes that are remembered from line to line."""
_WRITER_SHARE = 4
"""On SQLite, where there is one writer at a time, a group is so many times smaller."""
_SAYS_NO = {Kind.INVALID, Kind.INVALID_NUMBER, Kind.CONFLICT, Kind.NOT_FOUND, Kind.RATE_LIMITED}
"""Errors that are about a line; any other is about the registry, and ends the transaction."""


def group_size(kind: ImportKind, dialect: str) -> int:
    """Return how many lines of a kind one transaction records, so that others wait little."""
    return GROUPS[kind] // (_WRITER_SHARE if dialect == "sqlite" else 1)


class Recorder:
    """Records the lines of one import."""

    def __init__(
        self, kind: ImportKind, organisation_id: UUID, policy: Policy, clock: Clock
    ) -> None:
        self._who, self._policy, self._clock = organisation_id, policy, clock
        self._record: Callable[[Session, Sequence[Line]], Sequence[LineResult]] = {
            ImportKind.CONSENTS: self._assert,
            ImportKind.REQUESTS: self._ask,
            ImportKind.REFUSALS: self._refuse,
            ImportKind.REASSIGNMENTS: self._reassign,
            ImportKind.NUMBERS: self._claim,
        }[kind]
        self._senders: dict[str, UUID | None] = {}

    def record(self, session: Session, lines: Sequence[Line]) -> list[LineResult]:
        """Record what the lines say and return what became of each, in their order."""
        recorded = iter(self._record(session, [line for line in lines if line.problem is None]))
        return [
            next(recorded)
            if line.problem is None
            else LineResult(Outcome.REJECTED, line.problem, None)
            for line in lines
        ]

    def _assert(self, session: Session, lines: Sequence[Line]) -> Sequence[LineResult]:
        return bulk.assert_many(
            session,
            [(line.identity, line.value) for line in lines],
            sender_id=self._who,
            policy=self._policy,
            clock=self._clock,
        )

    def _reassign(self, session: Session, lines: Sequence[Line]) -> Sequence[LineResult]:
        return bulk.reassign_many(
            session,
            [(line.identity, line.value.number, line.value.reassigned_at) for line in lines],
            by_organisation_id=self._who,
            clock=self._clock,
        )

    def _refuse(self, session: Session, lines: Sequence[Line]) -> Sequence[LineResult]:
        self._find_senders(session, lines)
        scopes = [self._scope(line.value) for line in lines]
        known = [
            (line.identity, line.value.number, scope, line.value.via)
            for line, scope in zip(lines, scopes, strict=True)
            if scope is not None
        ]
        found = iter(
            bulk.refuse_many(session, known, by_organisation_id=self._who, clock=self._clock)
        )
        nobody = LineResult(Outcome.REJECTED, "sender: there is no such sender", None)
        return [nobody if scope is None else next(found) for scope in scopes]

    def _scope(self, wish: Wish) -> ledger.Scope | None:
        sender = self._senders[wish.sender] if isinstance(wish.sender, str) else wish.sender
        if sender is None and wish.sender is not None:
            return None
        return ledger.Scope(wish.channel, wish.topic, sender)

    def _find_senders(self, session: Session, lines: Sequence[Line]) -> None:
        """Look up the social credit codes that were not met before."""
        if len(self._senders) > _MOST_SENDERS:
            self._senders.clear()
        written = {line.value.sender for line in lines if isinstance(line.value.sender, str)}
        if new := written - self._senders.keys():
            query = select(Organisation.uscc, Organisation.id).where(Organisation.uscc.in_(new))
            self._senders |= dict.fromkeys(new) | dict(session.execute(query).all())

    def _ask(self, session: Session, lines: Sequence[Line]) -> Sequence[LineResult]:
        # In one order, as everybody who locks several numbers, and before looking.
        lock_numbers(session, [line.value.number for line in lines])
        query = select(ConsentRequest.line_key, ConsentRequest.id).where(
            ConsentRequest.line_key.in_([line.identity for line in lines])
        )
        before: dict[Any, UUID] = dict(session.execute(query).all())

        def ask(line: Line) -> UUID:
            question: Question = line.value
            return ledger.ask(
                session,
                sender_id=self._who,
                **vars(question),
                policy=self._policy,
                clock=self._clock,
                line_key=line.identity,
            ).id

        return _each(session, lines, before, lambda line: line.identity, ask)

    def _claim(self, session: Session, lines: Sequence[Line]) -> Sequence[LineResult]:
        numbers = [line.value.number.text for line in lines]
        before = _claimed(session, self._who, numbers)

        def claim(line: Line) -> UUID:
            resource: Resource = line.value
            return senders.claim(
                session,
                self._who,
                resource.number,
                resource.holding,
                note=resource.note,
                actor_id=self._who,
                now=self._clock(),
            ).id

        return _each(session, lines, before, lambda line: line.value.number.text, claim)


def _claimed(session: Session, who: UUID, numbers: Sequence[str]) -> dict[Any, UUID]:
    """Return the claims that wait, and those that led to what is held, by their numbers.

    A number is known by itself: who claims it again has claimed it already.
    """
    held = and_(NumberClaim.state == ApplicationState.APPROVED, SenderNumber.released_at.is_(None))
    query = (
        select(NumberClaim.number, NumberClaim.id)
        .outerjoin(SenderNumber, SenderNumber.id == NumberClaim.holding_id)
        .where(
            NumberClaim.organisation_id == who,
            NumberClaim.number.in_(numbers),
            or_(NumberClaim.state == ApplicationState.SUBMITTED, held),
        )
    )
    return dict(session.execute(query).all())


def _each(
    session: Session,
    lines: Sequence[Line],
    before: dict[Any, UUID],
    name: Callable[[Line], Any],
    act: Callable[[Line], UUID],
) -> list[LineResult]:
    """Act on line after line, unless that was done before; one that fails undoes only itself."""
    found = []
    for line in lines:
        if (known := before.get(name(line))) is not None:
            found.append(LineResult(Outcome.REPEATED, None, known))
            continue
        try:
            with session.begin_nested():
                made = act(line)
        except RegistryError as error:
            if error.kind not in _SAYS_NO:
                raise
            found.append(LineResult(Outcome.REJECTED, error.detail, None))
        else:
            before[name(line)] = made
            found.append(LineResult(Outcome.APPLIED, None, made))
    return found
