"""The commands of ``ganfast``; each imports what it runs."""
