"""Drop-in modules: the losses of public projects under their own names."""
