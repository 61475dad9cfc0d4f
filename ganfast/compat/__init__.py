"""Drop-in modules: losses, operations and metrics of public projects under their own names."""
