"""Runs migrations on the database whose URL the caller gives; see registry/database.py."""

from alembic import context
from sqlalchemy import NullPool, create_engine

from registry.models import Base

url = context.config.attributes["url"]
if url.get_backend_name() == "postgresql":
    # A migration that cannot get its lock at once gives way to the registry's traffic.
    # One that works beside traffic lifts this for itself: see 0006.
    options = {"options": "-c lock_timeout=5s -c timezone=UTC"}
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"), connect_args=options, poolclass=NullPool
    )
else:
    engine = create_engine(url, poolclass=NullPool)

with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=url.get_backend_name() == "sqlite",
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
