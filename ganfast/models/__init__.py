"""Small generators and discriminators to train out of the box."""

from ganfast.models import dcgan

__all__ = ["dcgan"]
