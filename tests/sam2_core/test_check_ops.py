"""A foreign `ops` on the path is refused in words, by a real interpreter that has one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run_python(tmp_path_factory):
    """Run a statement with these folders on the path, and nothing of ours in the current one."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(statement: str, *path: Path) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", statement],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("ops/__init__.py", "__all__ = ['CharmBase']\n"),
        ("ops/__init__.py", "import a_package_that_nobody_has\n"),
        ("ops.py", "def restart_server(): ...\n"),
    ],
    ids=["a package", "a package that does not import", "a module"],
)
def test_a_foreign_ops_earlier_on_the_path_is_named_with_the_way_out(
    run_python, tmp_path, file, content
):
    foreign = tmp_path / file
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text(content)

    result = run_python("import sam2_core", tmp_path, ROOT)

    last_line = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1
    assert last_line.startswith("ImportError: ")
    assert str(foreign) in last_line
    assert "pip uninstall ops" in last_line
    assert f"put {ROOT} before it on PYTHONPATH" in last_line


def test_a_foreign_ops_that_is_already_imported_is_refused_too(run_python, tmp_path):
    (tmp_path / "ops.py").write_text("")

    import_it_first = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import ops"

    result = run_python(f"{import_it_first}; import sam2_core", ROOT)

    assert result.returncode == 1
    assert f"`import ops` finds {tmp_path / 'ops.py'}" in result.stderr


def test_a_foreign_ops_later_on_the_path_does_no_harm(run_python, tmp_path):
    (tmp_path / "ops.py").write_text("raise SystemExit('foreign ops was imported')\n")

    result = run_python("import sam2_core._check_ops", ROOT, tmp_path)

    assert result.returncode == 0, result.stderr


def test_a_plain_folder_called_ops_does_no_harm(run_python, tmp_path):
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "deploy.sh").touch()

    result = run_python("import sam2_core._check_ops", tmp_path, ROOT)

    assert result.returncode == 0, result.stderr


def test_our_ops_in_another_folder_than_sam2_core_is_accepted(run_python, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "ops").symlink_to(ROOT / "ops")
    (tmp_path / "b" / "sam2_core").symlink_to(ROOT / "sam2_core")

    result = run_python("import sam2_core", tmp_path / "a", tmp_path / "b")

    assert result.returncode == 0, result.stderr


def test_a_missing_ops_is_said_to_be_missing(run_python, tmp_path):
    (tmp_path / "sam2_core").symlink_to(ROOT / "sam2_core")
    forget_the_checkout = f"import sys; sys.path = [p for p in sys.path if p != {str(ROOT)!r}]"

    result = run_python(f"{forget_the_checkout}; import sam2_core", tmp_path)

    assert result.returncode == 1
    assert "Install the distribution sam2ray again" in result.stderr
