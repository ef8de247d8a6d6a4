"""Setting up a registry, running it, and looking into it."""

import signal
import sys
import threading
from typing import TextIO

import click

from registry import create_app, database, demo, feed, runtime, server, worker
from registry.cli.command import NO, main, opening
from registry.config import Settings
from registry.errors import Kind, RegistryError
from registry.observe import configure_logging


@main.command()
def init() -> None:
    """Set up an empty registry: data folder, keys, schema. What is there is kept."""
    settings = Settings.from_environment()
    runtime.initialise(settings)
    click.echo(f"ready: {settings.data_dir.absolute()}")


@main.command()
@click.option("--worker/--no-worker", "with_worker", help="Also run the background worker.")
def serve(with_worker: bool) -> None:
    """Serve the registry over HTTP. An empty data folder is set up first."""
    settings = Settings.from_environment()
    if settings.embedded:
        runtime.initialise(settings)
    sys.exit(server.serve(settings, with_worker=with_worker))


@main.command("worker")
def run_worker() -> None:
    """Run the background work: the sequencer, outgoing SMS, what falls due, retention."""
    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with opening() as opened:
        worker.calm_collector()
        worker.run(opened, stop)


@main.command("demo")
@click.option("--serve/--no-serve", "serving", default=True, help="Serve it, with a worker.")
def run_demo(serving: bool) -> None:
    """Fill an empty data folder with a demo world, serve it, and say what to try."""
    settings = Settings.from_environment()
    if not settings.embedded:
        raise RegistryError(
            Kind.CONFLICT, "a registry with REGISTRY_DATABASE_URL never becomes a demo; use serve"
        )
    runtime.initialise(settings)
    with opening() as opened:
        if not opened.demo:
            click.echo("Filling the demo world ...", err=True)
            demo.fill(opened)
        text = demo.welcome(settings, opened.clock())
    if serving:
        sys.exit(server.serve(settings, with_worker=True, ready=lambda: click.echo(text)))
    click.echo(text)


@main.command("events")
@click.option("--after", default=0, show_default=True, help="The position to go on from.")
def show_events(after: int) -> None:
    """Print the log's events behind a position as JSON lines, numbers left out."""
    with opening() as opened, opened.database.snapshot() as session:
        while rows := feed.after(session, after):
            for row in rows:
                click.echo(f'{{"position":{row.position},"event":{row.payload.decode()}}}')
            after = rows[-1].position or after


@main.group()
def db() -> None:
    """Look after the database's schema."""


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the schema to the newest revision."""
    settings = Settings.from_environment()
    database.upgrade(settings.url)
    click.echo("the schema is up to date")


@db.command("check")
def db_check() -> None:
    """Tell whether the registry can answer: schema, keys, clock."""
    with opening() as opened:
        problems = opened.problems()
    for problem in problems:
        click.echo(problem)
    if problems:
        sys.exit(NO)
    click.echo("ready")


@main.command("export-openapi")
@click.argument("file", type=click.File("w"), default="-")
def export_openapi(file: TextIO) -> None:
    """Write the OpenAPI document of the API."""
    with opening() as opened:
        app = create_app(opened)
        document = app.test_client().get("/openapi.json").get_data(as_text=True)
    file.write(document)
