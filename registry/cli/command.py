"""The command `consent-registry`. Exit codes: 0 done or allowed, 1 the registry says no,
2 wrong usage, 3 the registry cannot be used now."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from registry import runtime
from registry.config import Settings
from registry.errors import Kind, RegistryError
from registry.runtime import Registry

NO, USAGE, UNUSABLE = 1, 2, 3
MOMENT = click.DateTime(["%Y-%m-%dT%H:%M:%S%z"])
"""The type of an option that is a time with its offset."""
EXIT = {Kind.UNAVAILABLE: UNUSABLE, Kind.INTERNAL: UNUSABLE}


class RegistryGroup(click.Group):
    """Turns the registry's errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except RegistryError as error:
            click.echo(f"Error: {error.detail}", err=True)
            ctx.exit(EXIT.get(error.kind, NO))
        except SQLAlchemyError as error:
            click.echo(f"Error: the database failed ({type(error).__name__})", err=True)
            ctx.exit(UNUSABLE)


@click.group(cls=RegistryGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run and look after a consent registry.

    Settings come from the environment: REGISTRY_DATA_DIR (var), REGISTRY_HOST, REGISTRY_PORT
    (8080), REGISTRY_DATABASE_URL (SQLite in the data folder), REGISTRY_NUMBER_KEY or
    REGISTRY_NUMBER_KEY_FILE, REGISTRY_SIGNING_KEY_FILE, REGISTRY_POLICY (cn-2020-draft),
    REGISTRY_WORKERS (2) and REGISTRY_THREADS (4). Those of outgoing SMS and of the pages are in
    docs/operations.md.

    Exit codes: 0 done or allowed, 1 the registry says no, 2 wrong usage, 3 it cannot be used now.
    """


@contextmanager
def opening() -> Iterator[Registry]:
    """Lend the registry that the environment names."""
    opened = runtime.open_registry(Settings.from_environment(), patience=None)
    try:
        yield opened
    finally:
        opened.database.close()


@contextmanager
def writing() -> Iterator[tuple[Registry, Session]]:
    """Lend the registry with a transaction, which is committed in the end."""
    with opening() as opened, opened.database.write() as session:
        yield opened, session


def choice(vocabulary: type[Any]) -> click.Choice[str]:
    """Return the type of an option that is one of a vocabulary's words."""
    return click.Choice([word.value for word in vocabulary])


def moment(at: datetime) -> str:
    """Write a time for people, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
