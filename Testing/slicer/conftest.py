"""Fixtures with articles for what runs inside 3D Slicer: a scene, a CT in it."""

import pytest
import slicer_application

slicer_application.publish_translations()  # the module's files import it


@pytest.fixture
def an_application():
    """A fresh scene with its logics."""
    return slicer_application.start()
