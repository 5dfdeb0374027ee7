"""Every check by one short name, in the environment that is active: `nox -l` lists them, `nox` runs the fast ones.

What stands behind `--` goes to pytest, or names the measurement of `perf`: `nox -s tests -- tests/test_run.py`.
"""

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]


@nox.session
def lint(session: nox.Session) -> None:
    """Rules and layout of the source, by ruff."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, by mypy: the host, the plugins, the report and the tests."""
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The fast tests, as the README runs them."""
    session.run("pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that take longer: kill -9, a second distribution in its own environment, real images."""
    session.run("pytest", "-m", "slow and not gpu", *session.posargs)


@nox.session
def gpu(session: nox.Session) -> None:
    """The tests that need a CUDA device."""
    session.run("pytest", "-m", "gpu", "-n", "0", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """Tests that draw their examples, slow ones too: 1000 each in place of 40, but for those that say how many."""
    session.run("pytest", "-m", "hypothesis", "--hypothesis-profile", "many", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """What documents promise: their examples, names, links, and the way of imports in docs/architecture.md."""
    session.run("pytest", "tests/test_docs.py", "tests/test_architecture.py", *session.posargs)


@nox.session
def generate(session: nox.Session) -> None:
    """Write anew what documents say and the code knows: names, options, measures, commands (docs/generated.py)."""
    session.run("python", "docs/generated.py")


@nox.session
def perf(session: nox.Session) -> None:
    """Measurements of speed, into perf/results.md: `nox -s perf -- cells`; without a name, all (perf/README.md)."""
    session.run("python", "-m", "perf", *session.posargs)


@nox.session
def keys(session: nox.Session) -> None:
    """Pin the content keys of the shipped suites anew: only where answers are meant to change."""
    session.run("python", "tests/pinned_keys.py")
