"""Who holds which sending number."""

from datetime import datetime
from uuid import UUID

import click

from registry import senders
from registry.cli.command import choice, main, opening, writing
from registry.consent import Channel, MessageClass
from registry.numbers import parse_sending


@main.group()
def number() -> None:
    """Record who holds which sending number."""


@number.command("hold")
@click.argument("organisation_id", type=click.UUID)
@click.argument("sending_number")
@click.option("--channel", "channels", type=choice(Channel), multiple=True, required=True)
@click.option("--usage", "usages", type=choice(MessageClass), multiple=True, required=True)
@click.option("--from", "held_from", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]))
@click.option("--until", "held_until", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]))
def number_hold(
    organisation_id: UUID,
    sending_number: str,
    channels: tuple[str, ...],
    usages: tuple[str, ...],
    held_from: datetime | None,
    held_until: datetime | None,
) -> None:
    """Record that an organisation holds a sending number."""
    with writing() as (opened, session):
        row = senders.hold(
            session,
            organisation_id,
            parse_sending(sending_number, opened.policy.default_region),
            senders.Holding(
                tuple(map(Channel, channels)),
                tuple(map(MessageClass, usages)),
                held_from,
                held_until,
            ),
            actor_id=None,
            now=opened.clock(),
        )
    click.echo(f"{row.number}  {row.kind}")


@number.command("release")
@click.argument("organisation_id", type=click.UUID)
@click.argument("sending_number")
def number_release(organisation_id: UUID, sending_number: str) -> None:
    """End an organisation's holding of a sending number."""
    with writing() as (opened, session):
        sending = parse_sending(sending_number, opened.policy.default_region)
        senders.release(session, organisation_id, sending, actor_id=None, now=opened.clock())
    click.echo("released")


@number.command("show")
@click.argument("sending_number")
def number_show(sending_number: str) -> None:
    """Tell who holds a sending number."""
    with opening() as opened, opened.database.snapshot() as session:
        sending = parse_sending(sending_number, opened.policy.default_region)
        row = senders.holder(session, sending, opened.clock())
        click.echo(f"{row.number}  {row.kind}  {row.holder.id}  {row.holder.name}")
