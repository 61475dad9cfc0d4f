"""Drop-in modules: the losses of other projects under their own names."""
