"""The figures of what runs long, below pytest's own summary."""

import pytest

FIGURES = "figures"


@pytest.fixture
def figures(record_property):
    """``figures(text)`` prints what a test has counted when all have ended, those of pytest-xdist's workers too."""
    return lambda text: record_property(FIGURES, text)


def pytest_terminal_summary(terminalreporter):
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    lines = [
        f"{report.nodeid.rpartition('::')[2]}: {text}"
        for report in reports
        for name, text in report.user_properties
        if name == FIGURES and report.when == "call"
    ]
    if lines:
        terminalreporter.section(FIGURES)
        for line in lines:
            terminalreporter.write_line(line)
