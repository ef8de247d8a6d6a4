"""Measuring speed and memory: `make bench` prints a table and writes docs/performance.md."""
