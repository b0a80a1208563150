"""`gan3d doctor`: a table that fits a terminal, figures as JSON, an exit code."""

import json

import pytest

from gan3d.cli import main
from gan3d.runtime import doctor
from gan3d.runtime.doctor import Finding


@pytest.fixture
def found(monkeypatch):
    """Make `diagnose` return what is given."""
    return lambda *findings: monkeypatch.setattr(doctor, "diagnose", lambda: list(findings))


OK = Finding("memory", "ok", "24 GiB")
WARNING = Finding("Horovod", "warning", "not installed " + "x" * 90, "uv sync " + "y" * 90)
PROBLEM = Finding("TensorFlow", "problem", "loading crashes (SIGILL)", "use another node")


@pytest.mark.parametrize(
    ("findings", "code"), [((OK,), 0), ((OK, WARNING), 0), ((OK, WARNING, PROBLEM), 1)]
)
def test_only_a_problem_fails(found, findings, code, capsys):
    found(*findings)
    assert main(["doctor"]) == code
    out = capsys.readouterr().out
    assert all(finding.name in out for finding in findings)
    assert ("Nothing to mend" in out) == (len(findings) == 1)


def test_the_table_fits_80_columns_and_remedies_stay_on_one_line(found, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found(OK, WARNING)
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert f"  {WARNING.remedy}" in lines
    assert all(len(line) <= 80 for line in lines if line != f"  {WARNING.remedy}")


def test_json_holds_the_findings_and_the_sample(found, capsys):
    found(OK, PROBLEM)
    assert main(["doctor", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert [finding["name"] for finding in findings] == ["memory", "TensorFlow", "sample"]
    assert findings[1] == {
        "name": "TensorFlow",
        "status": "problem",
        "detail": "loading crashes (SIGILL)",
        "remedy": "use another node",
    }
    assert findings[2]["status"] == "ok"
