"""Opening a registry: its settings, policy, database, keys and clock in one place."""

import contextlib
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from registry import database, policy, receipts
from registry.config import Settings, create_number_key, load_number_key
from registry.database import Clock, Database, utc_now
from registry.errors import Kind, RegistryError
from registry.files import FileStore
from registry.imports import Store
from registry.policy import Policy
from registry.receipts import Signer

CLOCK_TOLERANCE = 2
"""Seconds that the clocks of this process and of the database may be apart."""


@dataclass
class Registry:
    """An open registry, as edges hand it down. Without a signer nothing is answered."""

    settings: Settings
    policy: Policy
    database: Database
    signer: Signer | None
    demo: bool
    clock: Clock = field(default=utc_now)

    @property
    def files(self) -> FileStore:
        """The files that people brought, in the data folder."""
        return FileStore(self.settings.data_dir / "files", self.database.key)

    @property
    def imports(self) -> Store:
        """The files that are being imported, in the data folder."""
        return Store(self.settings.data_dir / "imports", self.database.key)

    def sign_with(self) -> Signer:
        """Return the signer; raises `UNAVAILABLE` when the key could not be read."""
        if self.signer is None:
            raise RegistryError(Kind.UNAVAILABLE, "the signing key cannot be read", retry_after=5)
        return self.signer

    def problems(self) -> list[str]:
        """Return why the registry cannot answer now; nothing when it is ready."""
        if self.signer is None:
            return ["the signing key cannot be read"]
        try:
            with self.database.read() as connection:
                current, newest = database.revisions(connection)
            server = self.database.now()
        except SQLAlchemyError:
            return ["the database does not answer"]
        found = []
        if current != newest:
            found.append(f"the schema is at {current}, this code needs {newest}")
        if server and abs((server - self.clock()).total_seconds()) > CLOCK_TOLERANCE:
            found.append("the clocks of this process and of the database are apart")
        return found


def initialise(settings: Settings, *, create_keys: bool = True) -> None:
    """Make an empty registry ready: folder, keys, schema, and the mark of its number key.

    What is there already is kept. Keys are made only where the registry holds no data yet; one
    whose keys are lost stays closed.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    if create_keys and not _has_data(settings):
        for path, create, given in (
            (settings.number_key_path, create_number_key, settings.number_key),
            (settings.signing_key_path, receipts.create_key_file, None),
        ):
            if given is None and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                create(path)
    key = load_number_key(settings)
    database.upgrade(settings.url)
    opened = Database(settings.url, key, patience=None)
    with contextlib.closing(opened), opened.write() as session:
        database.claim_key(session, key)


def _has_data(settings: Settings) -> bool:
    if settings.embedded:
        return (settings.data_dir / "registry.db").exists()
    return database.has_schema(settings.url)


def open_registry(
    settings: Settings, clock: Clock = utc_now, patience: int | None = database.PATIENCE
) -> Registry:
    """Open an initialised registry; raises when its number key is missing or another one.

    An unreadable signing key or a database that is down do not keep it from starting: it is
    then not ready, and its lookups answer 503.
    """
    rules = policy.load(settings.policy)
    key = load_number_key(settings)
    opened = Database(
        settings.url, key, pool_size=settings.threads + 1, patience=patience, check=True
    )
    demo = False
    try:
        with contextlib.suppress(SQLAlchemyError), opened.read() as connection:
            demo = settings.embedded and database.state(connection, "demo") == "yes"
    except RegistryError:
        opened.close()
        raise
    try:
        signer = Signer.load(settings.signing_key_path)
    except RegistryError:
        signer = None
    if demo:
        settings = settings.for_demo()
    return Registry(settings, rules, opened, signer, demo, clock)
