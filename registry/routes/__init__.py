"""The routes of API v1 by subject. Each loads, opens a transaction, calls a use case, dumps."""
