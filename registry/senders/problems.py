"""What is amiss with a request about organisations or numbers, in the words of its asker."""

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.errors import Kind, RegistryError


def flush(session: Session, conflict: str) -> None:
    """Flush, and say a broken uniqueness in the words of the asker."""
    try:
        session.flush()
    except IntegrityError:
        raise RegistryError(Kind.CONFLICT, conflict) from None
