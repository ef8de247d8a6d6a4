"""The console of operators: what waits for them, organisations, suspensions.

Regulators look at organisations and suspensions, too. docs/console.md says who may do what.
"""
