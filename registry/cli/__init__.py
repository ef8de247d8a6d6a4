"""The command `consent-registry`; importing the modules adds their commands to it."""

from registry.cli import (
    applications,
    imports,
    keys,
    lookup,
    members,
    numbers,
    organisations,
    outbox,
    policies,
    remote,
    running,
    upkeep,
)
from registry.cli.command import main

__all__ = [
    "applications",
    "imports",
    "keys",
    "lookup",
    "main",
    "members",
    "numbers",
    "organisations",
    "outbox",
    "policies",
    "remote",
    "running",
    "upkeep",
]
