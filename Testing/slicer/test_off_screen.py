"""A machine that cannot draw makes tests skip with the reason; it never ends the run."""

import os

import off_screen
import pytest


@pytest.mark.skipif(os.name == "nt", reason="signals are others there")
def test_a_library_that_crashes_is_a_reason_and_no_crash():
    assert off_screen.fault_of("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)") == "SIGSEGV"


def test_a_missing_library_is_the_reason():
    fault = off_screen.fault_of("raise ImportError('libEGL.so.1: cannot open shared object file')")
    assert "libEGL.so.1" in fault


def test_what_works_has_no_fault():
    assert off_screen.fault_of("pass") == ""


def test_the_skip_says_what_to_install(monkeypatch):
    monkeypatch.setattr(off_screen, "OPENGL", "raise SystemExit(3)")
    with pytest.raises(pytest.skip.Exception, match=r"exit code 3.*libegl1"):
        off_screen.need_opengl()
