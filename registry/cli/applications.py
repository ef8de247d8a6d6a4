"""Applications of organisations, to be registered or changed, for operators without a browser."""

from pathlib import Path
from uuid import UUID

import click

from registry import files, senders
from registry.cli.command import choice, moment, opening, writing
from registry.cli.organisations import organisation
from registry.models import Application, ApplicationState, OrganisationKind

APPLICANTS = [OrganisationKind.SENDER.value, OrganisationKind.PROVIDER.value]


@organisation.command("apply")
@click.argument("kind", type=click.Choice(APPLICANTS))
@click.argument("name")
@click.argument("uscc")
@click.option("--licence", "licence_number", required=True)
@click.option("--contact-name", required=True)
@click.option("--contact-phone", required=True)
@click.option("--complaint-phone", required=True)
@click.option(
    "--document",
    "documents",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A PDF, PNG or JPEG file; may be given several times.",
)
def organisation_apply(kind: str, documents: tuple[Path, ...], **details: str) -> None:
    """Enter what a legal entity applied for on paper, to be decided like any application."""
    with writing() as (opened, session):
        now = opened.clock()
        row = senders.apply(
            session, senders.Details(kind=OrganisationKind(kind), **details), now=now
        )
        for path in documents:
            with path.open("rb") as file:
                content = files.receive(file, opened.policy.files.evidence_mebibytes * 2**20)
            senders.add_document(
                session, opened.files, row, content, path.name, actor_id=None, now=now
            )
    click.echo(row.id)


@organisation.command("applications")
@click.option("--state", type=choice(ApplicationState), default="submitted", show_default=True)
def organisation_applications(state: str) -> None:
    """List applications, the oldest first."""
    with opening() as opened, opened.database.snapshot() as session:
        after = None
        while rows := senders.applications(session, state=ApplicationState(state), after=after):
            for row in rows:
                _show(row)
                for document in senders.documents(session, row):
                    click.echo(f"  document {document.id}  {document.name}")
            after = rows[-1].id


def _show(row: Application) -> None:
    of = f"  of {row.organisation_id}" if row.organisation_id else ""
    click.echo(f"{row.id}  {row.kind:9}  {row.state:9}  {row.uscc}  {row.name}{of}")
    click.echo(f"  licence {row.licence_number}  applied {moment(row.recorded_at)}")
    click.echo(f"  contact {row.contact_name}, {row.contact_phone}")
    click.echo(f"  complaints {row.complaint_phone}")


@organisation.command("document")
@click.argument("application_id", type=click.UUID)
@click.argument("document_id", type=click.UUID)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path, exists=False))
def organisation_document(application_id: UUID, document_id: UUID, file: Path) -> None:
    """Write a document of an application to a FILE that does not exist yet."""
    with opening() as opened, opened.database.snapshot() as session:
        row = senders.find_application(session, application_id)
        document = senders.find_document(session, row, document_id)
        with file.open("xb") as written:
            written.write(opened.files.read(document.sha256))
    click.echo(f"{document.media_type}  {document.size}")


@organisation.command("approve")
@click.argument("application_id", type=click.UUID)
@click.option("--reason")
def organisation_approve(application_id: UUID, reason: str | None) -> None:
    """Approve an application, and print the organisation that it led to."""
    click.echo(_decide(application_id, True, reason).organisation_id)


@organisation.command("reject")
@click.argument("application_id", type=click.UUID)
@click.option("--reason", required=True)
def organisation_reject(application_id: UUID, reason: str) -> None:
    """Reject an application for a reason, which the applicant reads."""
    click.echo(_decide(application_id, False, reason).state)


def _decide(application_id: UUID, approve: bool, reason: str | None) -> Application:
    with writing() as (opened, session):
        return senders.decide_application(
            session,
            application_id,
            approve=approve,
            reason=reason,
            actor_id=None,
            now=opened.clock(),
        )
