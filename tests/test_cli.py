"""The command line: help of every command, one sentence for bad input."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ulna import cli
from ulna.core import InputError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def commands_run(monkeypatch):
    """Let every command run this function instead of its own."""

    def replace(run):
        module = SimpleNamespace(add_arguments=lambda parser: None, run=run)
        monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)

    return replace


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_a_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(command, "--help")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: ulna {command}")
    assert len(shown) > 200


def test_without_a_command_the_list_of_them_is_shown(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main("--help")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for command, summary in cli.COMMANDS.items():
        assert command in shown
        assert summary.split()[0] in shown


@pytest.mark.parametrize("inside", ["", "deep/er"])
def test_a_command_runs_at_the_root_of_the_repository(inside, tmp_path, monkeypatch, commands_run):
    """Outside of one, where its user stands."""
    (tmp_path / "deep/er").mkdir(parents=True)
    commands_run(lambda _: where.append(os.getcwd()))
    where: list[str] = []
    for repository in (False, True):
        if repository:
            (tmp_path / ".dvc").mkdir()
        monkeypatch.chdir(tmp_path / inside)
        cli.main("share")
    assert where == [str(tmp_path / inside), str(tmp_path)]


@pytest.mark.parametrize("fault", [InputError("a.csv: expected 1"), OSError("a.csv: expected 1")])
def test_bad_input_ends_in_its_sentence_and_exit_code_1(fault, commands_run, capsys):
    def fail(_):
        raise fault

    commands_run(fail)
    with pytest.raises(SystemExit) as ended:
        cli.main("share")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "share: a.csv: expected 1\n"


def test_predict_runs_where_its_user_stands(tmp_path, monkeypatch, commands_run):
    """In a repository too: its paths are those that the shell completed."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "deep").mkdir()
    where: list[str] = []
    commands_run(lambda _: where.append(os.getcwd()))
    monkeypatch.chdir(tmp_path / "deep")
    cli.main("predict")
    assert where == [str(tmp_path / "deep")]


@pytest.mark.parametrize(("returned", "code"), [(None, None), (0, None), (2, 2)])
def test_the_exit_code_is_that_of_the_command(returned, code, commands_run):
    commands_run(lambda _: returned)
    try:
        cli.main("predict")
    except SystemExit as ended:
        assert ended.code == code
    else:
        assert code is None


@pytest.mark.parametrize(("command", "code"), [("predict", 1), ("share", 2)])
def test_a_call_that_cannot_be_parsed(command, code, capsys):
    """2 is the code of `ulna predict` for files that were refused."""
    with pytest.raises(SystemExit) as ended:
        cli.main(command, "--absent")
    assert ended.value.code == code
    assert "usage: ulna" in capsys.readouterr().err


def test_ctrl_c_ends_without_a_traceback(commands_run, capsys):
    def stop(_):
        raise KeyboardInterrupt

    commands_run(stop)
    with pytest.raises(SystemExit) as ended:
        cli.main("predict")
    assert ended.value.code == 130 and capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("compare", "compare works in a clone of ulna, with the pipeline's packages ("),
        ("summary", "summary works in a clone of ulna, with the pipeline's packages ("),
        ("predict", ""),
    ],
)
def test_without_the_pipelines_packages_a_command_says_how_to_get_them(command, words, tmp_path):
    """As where the wheel alone is installed."""
    program = (
        "import sys\n"
        "for name in ('pandas', 'dvc', 'scipy', 'pydantic', 'yaml', 'psutil', 'zc'):\n"
        "    sys.modules[name] = None\n"
        "from ulna import cli; cli.main(*sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, command, "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if words else 0), done.stderr
    assert done.stderr.startswith(words) and done.stderr.count("\n") == bool(words)


def test_the_script_runs_the_source_beside_it_from_anywhere(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "ulna"), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "verify" in done.stdout


def test_the_script_finds_the_environment_beside_it_or_says_how_to_make_it(tmp_path):
    """Started by a Python without packages, as before `source .venv/bin/activate`."""
    for name in ("ulna", "src", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    # Not a link: a script is looked up where it truly lies.
    (tmp_path / "ulna").unlink()
    shutil.copy(ROOT / "ulna", tmp_path)
    bare = [sys.executable, "-I", "-S", str(tmp_path / "ulna"), "--version"]
    done = subprocess.run(bare, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "run `make setup`" in done.stderr
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        bare, env={"PYTHONSAFEPATH": "1"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"ulna {cli.version()}\n"


def test_a_file_of_the_users_stands_for_no_package(tmp_path):
    for name in ("json", "argparse", "numpy", "dl"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')")
    done = subprocess.run(
        [sys.executable, "-m", "ulna", "predict", "absent.png"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "no such file" in done.stdout, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="closes a stream by a shell")
@pytest.mark.parametrize(
    ("close", "words"), [("<&-", "lists no path"), (">&-", ""), ("<&- >&- 2>&-", "")]
)
def test_a_closed_stream_is_an_empty_one(close, words, tmp_path):
    """As of some schedulers."""
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m ulna predict - {close}'],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src")},
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_the_version_is_that_of_the_project(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main("--version")
    assert ended.value.code == 0
    assert re.fullmatch(r"ulna \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_a_stage_run_as_a_file_says_how_to_run_it():
    done = subprocess.run(
        [sys.executable, str(ROOT / "stages/train.py"), "cnn"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.endswith("python -m stages.train\n") and done.stderr.count("\n") == 1


def test_make_names_a_command_that_is_missing(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").touch()
    done = subprocess.run(
        ["make", "PYTHON=python3.99", "repro"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("there is no command python3.99: install Python 3.11 to 3.13")


def test_make_repro_checks_first_and_ends_with_the_headline():
    done = subprocess.run(
        ["make", "--dry-run", "--old-file=.venv/installed", "repro"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith("make")]
    assert lines[0].startswith("python -m stages.check") and lines[-1] == "./ulna summary"
    assert "dvc repro" in lines


def test_help_waits_for_neither_dvc_nor_tensorflow():
    program = (
        "import sys; from ulna import cli\n"
        "try:\n    cli.main(*sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "slow = {'dvc', 'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(' '.join(sorted(slow)) or 0)"
    )
    for arguments in (["--help"], *([command, "--help"] for command in cli.COMMANDS)):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={"PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stderr)
