"""Settings from the environment, and the key files they point to."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from registry import policy
from registry.errors import Kind, RegistryError
from registry.numbers import NumberKey, parse_sending

DEMO_SMS_NUMBER = "10690000000"
"""Where the SMS of a demo come from, unless it was given a number."""


@dataclass(frozen=True)
class Settings:
    """Where a registry keeps its data and keys, and how it is served."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    database_url: str | None = None
    number_key: str | None = None
    number_key_file: Path | None = None
    signing_key_file: Path | None = None
    policy: str = policy.DEFAULT
    workers: int = 2
    threads: int = 4
    proxies: int = 0
    """Proxies in front of it that are ours, whose word on a client's address is believed."""
    portal_url: str | None = None
    sms_url: str | None = None
    sms_secret: str | None = field(default=None, repr=False)
    sms_secret_file: Path | None = None
    sms_number: str | None = None
    """The number that the registry's own SMS come from, and that people answer to."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the `REGISTRY_` variables; raises when one makes no sense."""

        def path(name: str) -> Path | None:
            value = environment.get(f"REGISTRY_{name}")
            return Path(value) if value else None

        return cls(
            data_dir=path("DATA_DIR") or Path("var"),
            host=environment.get("REGISTRY_HOST", "127.0.0.1"),
            port=_count(environment, "REGISTRY_PORT", 8080),
            database_url=environment.get("REGISTRY_DATABASE_URL"),
            number_key=environment.get("REGISTRY_NUMBER_KEY"),
            number_key_file=path("NUMBER_KEY_FILE"),
            signing_key_file=path("SIGNING_KEY_FILE"),
            policy=environment.get("REGISTRY_POLICY", policy.DEFAULT),
            workers=_count(environment, "REGISTRY_WORKERS", 2),
            threads=_count(environment, "REGISTRY_THREADS", 4),
            proxies=_count(environment, "REGISTRY_PROXIES", 0, least=0),
            portal_url=_url(environment, "REGISTRY_PORTAL_URL", ("http", "https")),
            sms_url=_url(environment, "REGISTRY_SMS_URL", ("http", "https", "smpp", "smpps")),
            sms_secret=environment.get("REGISTRY_SMS_SECRET") or None,
            sms_secret_file=path("SMS_SECRET_FILE"),
            sms_number=_sending_number(environment, "REGISTRY_SMS_NUMBER"),
        )

    def for_demo(self) -> "Settings":
        """Return the settings of a demo, whose SMS can be answered in any case."""
        return replace(self, sms_number=self.sms_number or DEMO_SMS_NUMBER)

    @property
    def embedded(self) -> bool:
        """Whether the registry lives in the data folder alone, on SQLite."""
        return self.database_url is None

    @property
    def url(self) -> str:
        """The database's address."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'registry.db'}"

    @property
    def portal(self) -> str:
        """The address of the pages, as SMS name it."""
        return (self.portal_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def number_key_path(self) -> Path:
        """The file with the number key."""
        return self.number_key_file or self.data_dir / "keys" / "number.key"

    @property
    def signing_key_path(self) -> Path:
        """The file with the signing keys."""
        return self.signing_key_file or self.data_dir / "keys" / "signing.json"


def load_number_key(settings: Settings) -> NumberKey:
    """Return the number key, from the environment or its file; it is never guessed."""
    try:
        written = settings.number_key or settings.number_key_path.read_text(encoding="ascii")
        return NumberKey(bytes.fromhex(written.strip()))
    except OSError:
        problem = f"cannot be read from {settings.number_key_path}"
    except ValueError:
        problem = "is not 64 hexadecimal digits"
    raise RegistryError(Kind.UNAVAILABLE, f"the number key {problem}")


def load_sms_secret(settings: Settings) -> str | None:
    """Return the secret for the SMS gateway, from the environment or its file, if there is one."""
    if settings.sms_secret is not None or settings.sms_secret_file is None:
        return settings.sms_secret
    try:
        return settings.sms_secret_file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        problem = f"the SMS secret cannot be read from {settings.sms_secret_file}"
        raise RegistryError(Kind.UNAVAILABLE, problem) from None


def create_number_key(path: Path) -> None:
    """Write a new number key, readable by its owner alone; never over another."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(NumberKey.BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _count(environment: Mapping[str, str], name: str, default: int, least: int = 1) -> int:
    value = environment.get(name, str(default))
    if not (value.isascii() and value.isdigit() and least <= int(value) < 65536):
        raise RegistryError(Kind.INVALID, f"{name} is no number from {least} on: {value!r}")
    return int(value)


def _url(environment: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str | None:
    """Return an address; a password in it is refused, since addresses are shown and logged."""
    value = environment.get(name)
    if not value:
        return None
    try:
        url = urlsplit(value)
        usable = url.scheme in schemes and url.hostname and url.port != 0 and not url.password
    except ValueError:
        usable = False
    if not usable:
        raise RegistryError(
            Kind.INVALID, f"{name} is no address with {' or '.join(schemes)} and without a password"
        )
    return value


def _sending_number(environment: Mapping[str, str], name: str) -> str | None:
    value = environment.get(name)
    if not value:
        return None
    try:
        return parse_sending(value).text
    except RegistryError as error:
        raise RegistryError(Kind.INVALID, f"{name}: {error.detail}") from None
