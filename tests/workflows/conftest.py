"""Fewer digits, where a test says nothing of how many there are."""

import dataclasses

import pytest

from ganfast import data


@pytest.fixture
def few_digits(monkeypatch):
    """Every fourth of the embedded digits in place of all: 1,250 images, 125 of each class."""
    whole = data.digits()
    few = dataclasses.replace(whole, images=whole.images[::4], labels=whole.labels[::4])
    monkeypatch.setattr(data, "digits", lambda: few)
    monkeypatch.setitem(data.EMBEDDED, "digits", lambda: few)
