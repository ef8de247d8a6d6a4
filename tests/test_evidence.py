"""Evidence: kept as long as anything rests on it and then so many months, and no longer."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, joinedload

from registry import complaints, evidence, files, ledger, senders, worker
from registry.consent import Basis, Channel, MessageClass, Topic
from registry.errors import Kind, RegistryError
from registry.evidence import Removed
from registry.evidence.retention import cutoff, kept_until
from registry.files import Content
from registry.ledger import EvidenceClaim
from registry.models import (
    Challenge,
    ComplaintOutcome,
    Consent,
    Event,
    Evidence,
    EvidenceFile,
    Grant,
    Method,
    Organisation,
)
from registry.numbers import parse_sending
from registry.runtime import Registry
from tests.factories import SMS_PORT, Clock, World, dump, make_claim, make_number

CANARY = "The customer at 13912345678 agreed."
FORM = Content(f"%PDF-1.7 {CANARY}".encode())
OTHER = Content(b"%PDF-1.7 another form")
SECOND = timedelta(seconds=1)
SECRET = bytes(range(32)).hex()
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def after_months(at: datetime, months: int = 5) -> datetime:
    """Return the same day and time so many months later."""
    number = at.year * 12 + at.month - 1 + months
    return at.replace(year=number // 12, month=number % 12 + 1)


def keep(world: World, content: Content = FORM, sender: Organisation | None = None) -> EvidenceFile:
    """Upload a file, by default as `sender`."""
    opened = world.registry
    holder = sender or world.sender
    return world.do(
        lambda session: evidence.keep(
            session,
            opened.files,
            content,
            "form 13912345678.pdf",
            organisation_id=holder.id,
            now=opened.clock(),
        )
    )


def delete(world: World, content: Content, sender: Organisation | None = None) -> None:
    """Delete a file, by default as `sender`."""
    opened = world.registry
    holder = sender or world.sender
    world.do(
        lambda session: evidence.delete(
            session, opened.files, holder.id, content.sha256, now=opened.clock()
        )
    )


def grant(
    world: World, index: int = 0, content: Content | None = FORM, **terms: Any
) -> list[Consent]:
    """Assert a consent whose evidence names a file, if any."""
    told = EvidenceClaim(
        Method.PAPER,
        "I agree.",
        "v1",
        "zh",
        content.sha256 if content else None,
        "https://example.com/1",
    )
    sender = terms.pop("sender", world.sender)

    def act(session: Session) -> list[Consent]:
        claim = make_claim(make_number(index), now=world.registry.clock(), **terms)
        return ledger.grant(
            session,
            replace(claim, evidence=told),
            sender_id=sender.id,
            by=ledger.By(None, sender.id),
            basis=Basis.ASSERTED,
            policy=world.registry.policy,
            clock=world.registry.clock,
        )

    return world.do(act)


def purge(world: World) -> Removed:
    """Purge now, and return all that went; a dry run just before says the same."""
    opened = world.registry
    months = opened.policy.retention
    said = total(evidence.due(opened.database, months, opened.clock()))
    done = total(evidence.purge(opened.database, opened.files, months, opened.clock()))
    assert said == done
    return done


def total(groups: Any) -> Removed:
    found = list(groups)
    return Removed(
        tuple(sorted(one for each in found for one in each.evidence)),
        tuple(sorted(one for each in found for one in each.files)),
    )


def stored(world: World, consent: Consent) -> Evidence:
    with world.registry.database.snapshot() as session:
        row = session.get_one(
            Consent, consent.id, options=[joinedload(Consent.grant).joinedload(Grant.evidence)]
        )
        return row.grant.evidence


def has(world: World, content: Content) -> bool:
    """Tell whether a file is still there, its row and its content both or neither."""
    opened = world.registry
    with opened.database.snapshot() as session:
        row = session.scalar(
            select(EvidenceFile.id).where(EvidenceFile.sha256 == content.sha256).limit(1)
        )
    path = opened.files.folder / content.sha256[:2] / content.sha256
    assert (row is not None) is path.exists()
    return row is not None


# When a relationship is over


def expire(world: World, consent: Consent, clock: Clock) -> datetime:
    """Do nothing: its date comes."""
    return consent.valid_until


def withdraw(world: World, consent: Consent, clock: Clock) -> datetime:
    clock.pass_(days=3)
    world.withdraw(consent)
    return clock()


def reassign(world: World, consent: Consent, clock: Clock) -> datetime:
    """Report late that the number went to somebody else: what counts is when it was reported."""
    clock.pass_(days=20)
    world.reassign(reassigned_at=clock() - timedelta(days=10))
    return clock()


def void(world: World, consent: Consent, clock: Clock) -> datetime:
    world.own(ledger.challenge, consent.id)
    clock.pass_(days=30)
    ledger.void_due(world.registry.database, clock=clock)
    return clock()


@pytest.mark.parametrize("end", [expire, withdraw, reassign, void])
def test_evidence_goes_exactly_so_many_months_after_the_end(
    world: World, clock: Clock, end: Callable[[World, Consent, Clock], datetime]
) -> None:
    keep(world)
    [consent] = grant(world)
    over = end(world, consent, clock)
    clock.now = after_months(over) - SECOND
    assert purge(world) == Removed()
    assert (stored(world, consent).notice_text, has(world, FORM)) == ("I agree.", True)
    clock.now += SECOND
    row = stored(world, consent)
    assert purge(world) == Removed((row.id,), (FORM.sha256,))
    gone = stored(world, consent)
    assert (gone.notice_text, gone.notice_version, gone.uri) == ("", None, None)
    assert (gone.sha256, gone.method, gone.purged_at) == (FORM.sha256, Method.PAPER, clock())
    assert not has(world, FORM)
    assert purge(world) == Removed()


def test_evidence_stays_while_one_of_two_consents_runs(world: World, clock: Clock) -> None:
    keep(world)
    retail, games = sorted(
        grant(world, topics=(Topic.RETAIL, Topic.GAMES), valid_until=clock() + timedelta(days=700)),
        key=lambda row: row.topic != Topic.RETAIL,
    )
    world.withdraw(retail)
    clock.now = after_months(clock(), 8)
    assert purge(world) == Removed()
    clock.pass_(days=1)
    world.withdraw(games)
    clock.now = after_months(clock()) - SECOND
    assert purge(world) == Removed()
    clock.now += SECOND
    assert purge(world).files == (FORM.sha256,)


@on_sqlite
def test_evidence_is_looked_at_again_only_when_it_can_be_due(world: World, clock: Clock) -> None:
    [consent] = grant(world, valid_until=clock() + timedelta(days=700))
    clock.now = after_months(clock())
    purge(world)
    assert stored(world, consent).needed_at == clock()
    looked_at = clock()
    clock.pass_(days=40)
    purge(world)
    assert stored(world, consent).needed_at == looked_at


def test_evidence_comes_back_to_life_with_a_cancelled_reassignment(
    world: World, clock: Clock
) -> None:
    [consent] = grant(world, valid_until=clock() + timedelta(days=700))
    report = world.reassign()
    clock.now = after_months(clock()) - SECOND
    world.cancel(report)
    clock.now += SECOND
    assert purge(world) == Removed()
    assert stored(world, consent).notice_text == "I agree."


def test_evidence_in_an_open_dispute_stays_until_that_is_settled(
    world: World, clock: Clock
) -> None:
    keep(world)
    keep(world, OTHER)
    [consent] = grant(world)
    clock.now = consent.valid_until - SECOND
    disputed = world.own(ledger.challenge, consent.id)
    with world.registry.database.write() as session:
        session.execute(update(Challenge).values(evidence_by=clock() + timedelta(days=400)))
    clock.now = after_months(clock(), 7)
    assert purge(world) == Removed(files=(OTHER.sha256,))  # No evidence names it yet.
    keep(world, OTHER)
    world.do(
        lambda session: ledger.bring_evidence(
            session,
            disputed.id,
            sender_id=world.sender.id,
            text="Her form.",
            sha256=OTHER.sha256,
            uri="https://example.com/2",
            clock=clock,
        )
    )
    clock.pass_(days=1)
    removed = purge(world)
    assert (len(removed.evidence), removed.files) == (1, (FORM.sha256,))
    with world.registry.database.snapshot() as session:
        row = session.get_one(Challenge, disputed.id)
        assert (row.evidence_text, row.evidence_uri) == ("", None)
        assert row.evidence_sha256 == OTHER.sha256
    clock.now = after_months(clock(), 5)
    assert purge(world).files == (OTHER.sha256,)


@pytest.mark.parametrize("named", [True, False])
def test_evidence_stays_while_a_complaint_is_open(world: World, clock: Clock, named: bool) -> None:
    [consent] = grant(world)
    shown = SMS_PORT if named else ""
    draft = complaints.Draft(Channel.SMS, shown, Topic.RETAIL, clock(), "Never asked.")
    filed = world.own(complaints.file, draft)
    clock.now = after_months(consent.valid_until, 6)
    assert purge(world) == Removed()
    opened: dict[str, Any] = {"complaint_id": filed.id, "clock": clock}
    actor: dict[str, Any] = {"actor_id": world.operator.id, **opened}
    if named:
        world.do(partial(complaints.forward, **actor))
        world.do(partial(complaints.answer, text="No.", sender_id=world.sender.id, **opened))
    closing: dict[str, Any] = {
        "outcome": ComplaintOutcome.UNFOUNDED,
        "policy": world.registry.policy,
    }
    world.do(partial(complaints.close, **closing, **actor))
    assert len(purge(world).evidence) == 1


@on_sqlite
def test_consent_without_evidence_is_challenged_no_more(world: World, clock: Clock) -> None:
    [consent] = grant(world)
    clock.now = after_months(consent.valid_until, 6)
    purge(world)
    with pytest.raises(RegistryError) as caught:
        world.own(ledger.challenge, consent.id)
    assert caught.value.kind is Kind.CONFLICT


# Files


def test_file_stays_while_other_evidence_names_it(world: World, clock: Clock) -> None:
    keep(world)
    [first] = grant(world, 1)
    [second] = grant(world, 2)
    for consent in (first, second):
        world.withdraw(consent)
        clock.pass_(days=1)
    clock.now = after_months(clock()) - timedelta(days=2)
    assert purge(world) == Removed((stored(world, first).id,))
    assert has(world, FORM)
    clock.pass_(days=2)
    assert purge(world) == Removed((stored(world, second).id,), (FORM.sha256,))


def test_file_is_of_the_sender_that_uploaded_it(world: World, clock: Clock) -> None:
    keep(world)
    keep(world, sender=world.other_sender)
    [own] = grant(world, valid_until=clock() + timedelta(days=700))
    [others] = grant(world, 1, sender=world.other_sender)
    clock.now = after_months(others.valid_until)
    assert purge(world) == Removed((stored(world, others).id,), (FORM.sha256,))
    with world.registry.database.snapshot() as session:
        shown = [evidence.file_of(session, session.merge(row, load=False)) for row in (own, others)]
    assert [row and row.organisation_id for row in shown] == [world.sender.id, None]
    assert world.registry.files.read(FORM.sha256) == FORM.data


def test_file_that_nothing_names_goes_unless_it_is_uploaded_again(
    world: World, clock: Clock
) -> None:
    keep(world)
    uploaded = clock()
    clock.now = after_months(uploaded) - SECOND
    assert purge(world) == Removed()
    keep(world)
    clock.now += SECOND
    assert purge(world) == Removed()
    clock.now = after_months(clock())
    assert purge(world).files == (FORM.sha256,)
    assert not has(world, FORM)


@on_sqlite
def test_file_that_a_document_is_too_keeps_its_content(
    world: World, registry: Registry, clock: Clock
) -> None:
    keep(world)

    def apply(session: Session) -> None:
        claim = senders.claim(
            session,
            world.sender.id,
            parse_sending("10690009999"),
            senders.Holding((Channel.SMS,), (MessageClass.COMMERCIAL,)),
            note=None,
            actor_id=world.sender.id,
            now=clock(),
        )
        senders.add_document(
            session, registry.files, claim, FORM, "form.pdf", actor_id=None, now=clock()
        )

    world.do(apply)
    clock.now = after_months(clock(), 6)
    assert purge(world).files == (FORM.sha256,)
    assert registry.files.read(FORM.sha256) == FORM.data


@on_sqlite
def test_file_is_deleted_by_its_sender_only_while_nothing_names_it(world: World) -> None:
    keep(world)
    keep(world, OTHER)
    grant(world)
    for content, sender, kind in (
        (FORM, world.sender, Kind.CONFLICT),
        (OTHER, world.other_sender, Kind.NOT_FOUND),
    ):
        with pytest.raises(RegistryError) as caught:
            delete(world, content, sender)
        assert caught.value.kind is kind
    delete(world, OTHER)
    assert (has(world, FORM), has(world, OTHER)) == (True, False)


@on_sqlite
def test_purge_removes_files_that_were_never_committed(
    world: World, registry: Registry, clock: Clock
) -> None:
    """A test's clock is far from the disk's, so what was kept a moment ago is made older."""
    clock.now = datetime.now(UTC)
    registry.files.put(io.BytesIO(OTHER.data), 1000)
    keep(world)
    assert (
        total(evidence.purge(registry.database, registry.files, registry.policy.retention, clock()))
        == Removed()
    )
    clock.pass_(days=2)
    removed = total(
        evidence.purge(registry.database, registry.files, registry.policy.retention, clock())
    )
    assert removed == Removed(files=(OTHER.sha256,))
    assert has(world, FORM)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_no_file_is_lost_while_it_is_uploaded_deleted_and_purged_at_once(
    world: World, registry: Registry, clock: Clock
) -> None:
    """What is uploaded 200 days ago is due at once; the disk's clock is the real one."""
    now = datetime.now(UTC)
    clock.now = now - timedelta(days=200)
    months = registry.policy.retention

    def act(turn: int) -> None:
        content = (FORM, OTHER)[turn % 2]
        if turn % 3 == 0:
            total(evidence.purge(registry.database, registry.files, months, now))
        elif turn % 3 == 1:
            keep(world, content, (world.sender, world.other_sender)[turn // 6 % 2])
        else:
            with contextlib.suppress(RegistryError):  # It is gone already.
                delete(world, content)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(act, range(60)))
    with registry.database.snapshot() as session:
        for digest in session.scalars(select(EvidenceFile.sha256)):
            registry.files.read(digest)


@on_sqlite
def test_purge_can_be_stopped_and_goes_on(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("registry.evidence.retention.GROUP", 2)
    caplog.set_level("INFO")
    every = {stored(world, grant(world, index)[0]).id for index in range(5)}
    clock.now = after_months(clock() + timedelta(days=90), 1)
    clock.now = after_months(clock(), 5)
    opened = world.registry
    groups = evidence.purge(opened.database, opened.files, opened.policy.retention, opened.clock())
    first = next(groups)
    groups.close()
    rest = purge(world)
    assert len(first.evidence) == 2
    assert {*first.evidence, *rest.evidence} == every
    with opened.database.snapshot() as session:
        said = session.scalars(select(Event).where(Event.kind == "evidence_purged")).all()
    assert len(said) == 3
    logged = [one for each in caplog.records for one in getattr(each, "fields", {})["evidence"]]
    assert sorted(logged) == sorted(map(str, every))


@on_sqlite
def test_upkeep_purges_evidence(
    world: World, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    keep(world)
    [consent] = grant(world)
    clock.now = after_months(consent.valid_until)
    worker.upkeep(world.registry, clock())
    assert stored(world, consent).purged_at == clock()
    [done] = [each for each in caplog.records if each.getMessage() == "upkeep"]
    removed = vars(done)["fields"]["removed"]
    assert (removed["evidence"], removed["evidence_files"]) == (1, 1)


@on_sqlite
def test_purge_command_says_and_logs_what_it_removes(registry: Registry, world: World) -> None:
    """It reads the real clock, so the consent is of a year ago."""
    registry.clock = Clock(datetime.now(UTC) - timedelta(days=400))
    keep(world)
    [consent] = grant(world)
    lines = [f"evidence {stored(world, consent).id}", f"file     {FORM.sha256}"]
    counts = ["          1  evidence", "          1  evidence_files"]
    folder = registry.settings.data_dir
    environment = {**os.environ, "REGISTRY_DATA_DIR": str(folder), "REGISTRY_NUMBER_KEY": SECRET}
    command = [sys.executable, "-m", "registry.cli", "purge"]

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *options], env=environment, check=True, capture_output=True, text=True
        )

    assert run("--dry-run").stdout.splitlines() == [*lines, "to be removed:", *counts]
    assert has(world, FORM)
    done = run()
    assert done.stdout.splitlines() == [*lines, "removed:", *counts]
    [said] = [json.loads(line) for line in done.stderr.splitlines() if "evidence purged" in line]
    assert (said["level"], said["files"]) == ("info", [FORM.sha256])
    assert not has(world, FORM)


@pytest.mark.parametrize(
    ("ended", "months", "until"),
    [
        (datetime(2026, 12, 1, 2, tzinfo=UTC), 5, datetime(2027, 5, 1, 2, tzinfo=UTC)),
        (datetime(2026, 9, 30, 2, tzinfo=UTC), 5, datetime(2027, 3, 1, tzinfo=UTC)),
        (datetime(2026, 7, 31, 2, tzinfo=UTC), 5, datetime(2026, 12, 31, 2, tzinfo=UTC)),
        (datetime(2026, 10, 31, 2, tzinfo=UTC), 1, datetime(2026, 12, 1, tzinfo=UTC)),
    ],
)
def test_kept_until_is_the_first_time_that_is_due(
    ended: datetime, months: int, until: datetime
) -> None:
    assert kept_until(ended, months) == until
    assert cutoff(until - timedelta(microseconds=1), months) < ended <= cutoff(until, months)


# Where it lies


def test_nothing_of_a_file_lies_in_plain(world: World, registry: Registry) -> None:
    keep(world)
    grant(world)
    lying = dump(registry) + b"".join(
        path.read_bytes() for path in registry.files.folder.rglob("*") if path.is_file()
    )
    for canary in (b"13912345678", CANARY.encode(), b"I agree.", b"form 139"):
        assert canary not in lying
    assert files.Content(registry.files.read(FORM.sha256)) == FORM
