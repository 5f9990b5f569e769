"""Preparing a checkout: what is skipped, and what people are told when it fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import prepare


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("npm error code ENOTFOUND\nnpm error network request failed", "registries could not be reached"),
        ("error: Failed to fetch\n  Caused by: dns error: failed to lookup address information", "HTTPS_PROXY"),
        ("ERROR: Could not find a version\nERROR: No matching distribution found for uv==0.13.9", "HTTPS_PROXY"),
        ("error: failed to write\n  Caused by: No space left on device (os error 28)", "disk is full"),
        ("npm error code ENOSPC", "disk is full"),
        ("npm error code EACCES", "writable"),
        ("error: Hash mismatch for `six==1.17.0`", "not the one that was locked"),
        ("npm error code EINTEGRITY", "not the one that was locked"),
        ("Error: Failed to resolve ./src/main.ts from index.html", "The lines above"),
    ],
)
def test_a_failed_step_says_what_to_do(output: str, told: str) -> None:
    assert told in prepare.remedy(output)


def test_a_step_is_done_again_when_a_file_that_it_was_given_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "STAMPS", tmp_path / "stamps")
    lock = tmp_path / "some.lock"
    lock.write_text("one")
    prepare.Stamp("step", [lock]).set()
    assert prepare.Stamp("step", [lock]).current
    lock.write_text("two")
    assert not prepare.Stamp("step", [lock]).current


def test_a_step_is_done_again_when_it_is_given_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "STAMPS", tmp_path / "stamps")
    prepare.Stamp("step", ["a", "b"]).set()
    assert not prepare.Stamp("step", ["ab"]).current


def test_too_little_disk_is_said_before_anything_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        prepare.check_disk(10**9)
    assert "are needed" in capsys.readouterr().err


def test_an_old_python_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit):
        prepare.check_python()
    assert "needs Python 3.11" in (told := capsys.readouterr().err)
    assert "make PYTHON=" in told


def test_the_cause_of_a_long_failure_is_shown_wherever_it_stands() -> None:
    shown = prepare.excerpt(["first", *["middle"] * 100, "last"])
    assert shown[0] == "first"
    assert shown[-1] == "last"
    assert len(shown) < 40


def test_a_prepared_checkout_is_ready_at_once() -> None:
    """Needs the environment that these tests run in to be a prepared one, as `make test` does."""
    if not (prepare.STAMPS / "dev").exists():
        pytest.skip("not prepared by make")
    done = subprocess.run([sys.executable, "tools/prepare.py", "dev"], cwd=prepare.ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
