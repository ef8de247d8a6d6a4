"""Organisations: registering them and keeping them in order."""

from uuid import UUID

import click

from registry import senders
from registry.cli.command import choice, main, opening, writing
from registry.models import OrganisationKind


@main.group()
def organisation() -> None:
    """Register organisations and keep them in order."""


@organisation.command("add")
@click.argument("kind", type=choice(OrganisationKind))
@click.argument("name")
@click.argument("uscc")
@click.argument("contact_phone")
def organisation_add(kind: str, name: str, uscc: str, contact_phone: str) -> None:
    """Register a legal entity by its unified social credit code."""
    with writing() as (opened, session):
        row = senders.register(
            session,
            OrganisationKind(kind),
            name,
            uscc,
            contact_phone,
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
                state = "suspended" if senders.suspension(session, row.id) else "active"
                click.echo(f"{row.id}  {row.kind:9}  {state:9}  {row.uscc}  {row.name}")
            after = rows[-1].id


@organisation.command("suspend")
@click.argument("organisation_id", type=click.UUID)
@click.option("--reason", required=True)
def organisation_suspend(organisation_id: UUID, reason: str) -> None:
    """Suspend an organisation from now on, for a recorded reason."""
    with writing() as (opened, session):
        senders.suspend(session, organisation_id, reason, actor_id=None, now=opened.clock())
    click.echo("suspended")


@organisation.command("reinstate")
@click.argument("organisation_id", type=click.UUID)
def organisation_reinstate(organisation_id: UUID) -> None:
    """End an organisation's suspension."""
    with writing() as (opened, session):
        senders.reinstate(session, organisation_id, actor_id=None, now=opened.clock())
    click.echo("active")


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
