"""The commands of ``ganfast``, one module each; workflows are imported where they are used."""
