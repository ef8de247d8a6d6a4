"""The console: pages for those who work for an organisation. docs/console.md says how it grows."""
