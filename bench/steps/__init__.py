"""Whole training steps of public trainers; networks are our own, to the published shapes."""
