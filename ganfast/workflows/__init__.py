"""Whole workflows, each one function and one command."""
