"""The rule sets, shown."""

import dataclasses
import json

import click

from registry import policy
from registry.cli.command import main


@main.group("policy")
def policies() -> None:
    """Show the rule sets."""


@policies.command("list")
def policy_list() -> None:
    """List the policies that come with the registry."""
    for name in policy.names():
        click.echo(f"{name:16} {policy.load(name).title}")


@policies.command("show")
@click.argument("name", default=policy.DEFAULT)
def policy_show(name: str) -> None:
    """Show what a policy says, by its name or its file."""
    click.echo(json.dumps(dataclasses.asdict(policy.load(name)), default=str, indent=1))
