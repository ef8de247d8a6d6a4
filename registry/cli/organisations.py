"""Organisations: registering them and keeping them in order."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import click

from registry import senders
from registry.cli.command import MOMENT, choice, main, moment, opening, writing
from registry.models import Appeal, AppealOutcome, OrganisationKind, Suspension


@main.group()
def organisation() -> None:
    """Register organisations and keep them in order."""


@organisation.command("add")
@click.argument("kind", type=choice(OrganisationKind))
@click.argument("name")
@click.argument("uscc")
@click.argument("contact_phone")
@click.option("--licence", "licence_number", help="The number of its licence.")
@click.option("--complaint-phone", help="By default, of those that send, the contact phone.")
def organisation_add(
    kind: str,
    name: str,
    uscc: str,
    contact_phone: str,
    licence_number: str | None,
    complaint_phone: str | None,
) -> None:
    """Register a legal entity by its unified social credit code."""
    with writing() as (opened, session):
        row = senders.register(
            session,
            OrganisationKind(kind),
            name,
            uscc,
            contact_phone,
            licence_number=licence_number,
            complaint_phone=complaint_phone,
            actor_id=None,
            now=opened.clock(),
        )
    click.echo(row.id)


@organisation.command("list")
def organisation_list() -> None:
    """List all organisations."""
    with opening() as opened, opened.database.snapshot() as session:
        after = None
        while rows := senders.page(session, after):
            for row in rows:
                suspended = senders.suspended(session, row.id, opened.clock())
                state = "suspended" if suspended else "active"
                click.echo(f"{row.id}  {row.kind:9}  {state:9}  {row.uscc}  {row.name}")
            after = rows[-1].id


@organisation.command("show")
@click.argument("organisation_id", type=click.UUID)
def organisation_show(organisation_id: UUID) -> None:
    """Show an organisation, all that it was known by, its suspensions and appeals."""
    with opening() as opened, opened.database.snapshot() as session:
        row = senders.find(session, organisation_id)
        click.echo(f"{row.id}  {row.kind}  {row.uscc}")
        for version in senders.history(session, row.id):
            click.echo(f"from {moment(version.recorded_at)}  {version.name}")
            click.echo(f"  licence {version.licence_number or '-'}")
            click.echo(f"  contact {version.contact_phone}")
            click.echo(f"  complaints {version.complaint_phone or '-'}")
        for suspension in senders.suspensions(session, row.id):
            _show_suspension(suspension, senders.appeals(session, suspension.id))


def _show_suspension(suspension: Suspension, appeals: Sequence[Appeal]) -> None:
    until = f" until {moment(suspension.ended_at)}" if suspension.ended_at else ""
    click.echo(f"suspended from {moment(suspension.starts_at)}{until}: {suspension.reason}")
    click.echo(f"  announced {moment(suspension.recorded_at)}")
    if suspension.end_reason:
        click.echo(f"  ended: {suspension.end_reason}")
    for row in appeals:
        click.echo(f"  appeal {row.id}  {row.outcome or 'open'}: {row.text}")


@organisation.command("correct")
@click.argument("organisation_id", type=click.UUID)
@click.option("--name")
@click.option("--licence", "licence_number")
@click.option("--contact-phone")
@click.option("--complaint-phone")
def organisation_correct(organisation_id: UUID, **details: str | None) -> None:
    """Correct what an organisation is known by; what it was before is kept."""
    changes = {field: text for field, text in details.items() if text is not None}
    if not changes:
        raise click.UsageError("name what to correct")
    with writing() as (opened, session):
        senders.correct(session, organisation_id, changes, actor_id=None, now=opened.clock())
    click.echo("corrected")


# Suspensions


@organisation.command("suspend")
@click.argument("organisation_id", type=click.UUID)
@click.option("--reason", required=True)
@click.option("--from", "starts_at", type=MOMENT, help="By default after the policy's notice.")
def organisation_suspend(organisation_id: UUID, reason: str, starts_at: datetime | None) -> None:
    """Announce an organisation's suspension, for a recorded reason."""
    with writing() as (opened, session):
        now = opened.clock()
        senders.suspend(
            session,
            organisation_id,
            reason,
            starts_at=starts_at,
            policy=opened.policy,
            actor_id=None,
            now=now,
        )
        found = senders.suspension(session, organisation_id)
    starts_at = found.starts_at if found else now
    click.echo(f"will be suspended from {moment(starts_at)}" if starts_at > now else "suspended")


@organisation.command("reinstate")
@click.argument("organisation_id", type=click.UUID)
@click.option("--reason")
def organisation_reinstate(organisation_id: UUID, reason: str | None) -> None:
    """End an organisation's suspension, or call off the one that is announced."""
    with writing() as (opened, session):
        senders.reinstate(
            session, organisation_id, reason=reason, actor_id=None, now=opened.clock()
        )
    click.echo("active")


@organisation.command("appeals")
def organisation_appeals() -> None:
    """List the appeals that wait for a decision, the oldest first."""
    with opening() as opened, opened.database.snapshot() as session:
        after = None
        while rows := senders.open_appeals(session, after):
            for row in rows:
                organisation_id = row.suspension.organisation_id
                click.echo(f"{row.id}  {organisation_id}  {moment(row.recorded_at)}")
                click.echo(f"  suspended for: {row.suspension.reason}")
                click.echo(f"  appeal: {row.text}")
            after = rows[-1].id


@organisation.command("decide-appeal")
@click.argument("appeal_id", type=click.UUID)
@click.argument("outcome", type=choice(AppealOutcome))
@click.option("--reason", required=True)
def organisation_decide_appeal(appeal_id: UUID, outcome: str, reason: str) -> None:
    """Grant an appeal, which ends the suspension, or dismiss it."""
    with writing() as (opened, session):
        senders.decide_appeal(
            session,
            appeal_id,
            granted=AppealOutcome(outcome) is AppealOutcome.GRANTED,
            reason=reason,
            actor_id=None,
            now=opened.clock(),
        )
    click.echo(outcome)


@organisation.command("limits")
@click.argument("organisation_id", type=click.UUID)
@click.option("--requests-per-second", type=click.IntRange(1))
@click.option("--lookup-numbers-per-day", type=click.IntRange(1))
@click.option("--assertion-numbers-per-day", type=click.IntRange(1))
def organisation_limits(organisation_id: UUID, **limits: int | None) -> None:
    """Set an organisation's limits; those not named become the policy's."""
    with writing() as (opened, session):
        senders.limit(
            session,
            organisation_id,
            senders.Limits(**limits),
            actor_id=None,
            now=opened.clock(),
        )
    click.echo("set")
