"""The one test command: ``nox`` makes an environment with the constrained versions, checks the code, runs all tests."""

import logging

import nox

# nox's own closing line would hide pytest's; its errors are still told.
logging.getLogger("nox").setLevel(logging.WARNING)

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "virtualenv"


@nox.session
def tests(session: nox.Session) -> None:
    """Format, lint, types, then every test; further arguments go to pytest."""
    session.install("-q", "-c", "constraints.txt", ".[nnunet,test]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("pytest", *session.posargs)
