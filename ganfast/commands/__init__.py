"""The commands of ``ganfast``, one module each; recipes are imported where they are used."""
