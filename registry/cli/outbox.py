"""The SMS that go to subscribers."""

import sys
from uuid import UUID

import click

from registry.cli.command import NO, choice, main, opening, writing
from registry.messenger import delivery, outbox
from registry.messenger.backends import Accepted
from registry.models import OutboxState
from registry.numbers import parse_subscriber


@main.group("outbox")
def outgoing() -> None:
    """Look after the SMS that go to subscribers."""


@outgoing.command("list")
@click.option("--state", type=choice(OutboxState))
@click.option("--most", type=click.IntRange(1), default=100, show_default=True)
def outbox_list(state: str | None, most: int) -> None:
    """List SMS, the newest first, without what they say."""
    with opening() as opened, opened.database.snapshot() as session:
        rows = outbox.newest(session, OutboxState(state) if state else None, most)
        for row in rows:
            click.echo(
                f"{row.id}  {row.state:9}  {row.notice:18}  {row.number}"
                f"  {row.recorded_at:%Y-%m-%dT%H:%MZ}  tried {row.attempts}"
                + (f"  in {row.merged_into}" if row.merged_into else "")
            )


@outgoing.command("resend")
@click.argument("outbox_id", type=click.UUID)
def outbox_resend(outbox_id: UUID) -> None:
    """Send an uncertain or failed SMS again.

    An uncertain one may have gone out already; its reader then gets it twice.
    """
    with writing() as (opened, session):
        outbox.resend(session, outbox_id, opened.clock())
    click.echo("waiting")


@outgoing.command("test")
@click.argument("subscriber")
def outbox_test(subscriber: str) -> None:
    """Send one SMS at once, past the outbox, to try the gateway's settings."""
    with opening() as opened:
        outcome = delivery.send_test(
            opened.settings, parse_subscriber(subscriber, opened.policy.default_region)
        )
    said = outcome.reference if isinstance(outcome, Accepted) else outcome.reason
    click.echo(f"{type(outcome).__name__.lower()}: {said}")
    if not isinstance(outcome, Accepted):
        sys.exit(NO)
