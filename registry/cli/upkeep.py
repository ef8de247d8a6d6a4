"""Removing what the policy keeps no longer."""

from collections.abc import Iterable

import click

from registry import evidence, maintenance
from registry.cli.command import main, opening
from registry.evidence import Removed
from registry.observe import configure_logging


@main.command("purge")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def run_purge(dry_run: bool) -> None:
    """Remove what the policy keeps no longer: evidence of ended consents, its files, old traffic.

    The worker does the same every hour. Evidence is named by its id, files by their SHA-256. Each
    group goes in a transaction of its own, so this can be stopped, and goes on the next time.
    """
    with opening() as opened:
        database, retention, now = opened.database, opened.policy.retention, opened.clock()
        if dry_run:
            _show(evidence.due(database, retention, now), "to be removed")
            old = maintenance.old_rows(database, retention, now)
        else:
            configure_logging()
            _show(evidence.purge(database, opened.files, retention, now), "removed")
            old = maintenance.purge(database, retention, now)
    for name, many in old.items():
        if many:
            click.echo(f"  {many:9}  {name}")


def _show(groups: Iterable[Removed], done: str) -> None:
    """Print a line for everything that goes, and then how much it was."""
    pieces = files = 0
    for removed in groups:
        for evidence_id in removed.evidence:
            click.echo(f"evidence {evidence_id}")
        for digest in removed.files:
            click.echo(f"file     {digest}")
        pieces += len(removed.evidence)
        files += len(removed.files)
    click.echo(f"{done}:")
    click.echo(f"  {pieces:9}  evidence")
    click.echo(f"  {files:9}  evidence_files")
