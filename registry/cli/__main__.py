"""Lets `python -m registry.cli` run the command."""

from registry.cli import main

main()
