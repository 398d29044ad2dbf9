"""Fixtures with articles for what runs inside 3D Slicer: a scene, a CT in it."""

import sys

import pytest
import slicer_application

slicer_application.publish_translations()  # the module's files import it


@pytest.fixture
def an_application():
    """A fresh scene with its logics."""
    return slicer_application.start()


@pytest.fixture
def no_error_in_a_slot(monkeypatch):
    """Qt and VTK print an error that leaves a slot, and go on; here it fails the test."""
    errors = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: errors.append(error))
    yield
    assert errors == []
