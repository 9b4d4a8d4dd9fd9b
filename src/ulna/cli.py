"""The command line of `ulna`: predict, and what DVC does not offer a team."""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from ulna.core import InputError, find_root, version

# Command -> its help. Each is a module of that name, with two functions, `add_arguments(parser)`
# and `run(arguments)`, which may return an exit code; the module's docstring is its description.
COMMANDS = {
    "predict": "tell abnormal from normal on your own radiographs, with a trained network",
    "compare": "tell which differences between revisions are significant, and rank many",
    "doctor": "tell whether this machine and this folder are ready, and how to mend what is not",
    "experiments": "list experiments with their scores and what was changed, in 120 columns",
    "export": "pack a bundle into one file, to predict with it elsewhere",
    "share": "send data, runs and experiments to a remote, so that nobody trains them again",
    "summary": "show the headline scores of the last run, and where to read on",
    "verify": "hash everything anew and list what does not match",
}
# Modules of `ulna.inference`, which need neither DVC nor a repository and run where their user
# stands; all others are modules of `ulna.team`.
ANYWHERE = ("predict",)


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; the module of the chosen one adds its arguments."""
    parser = argparse.ArgumentParser(
        prog="ulna",
        description="Abnormal or normal: predict, and what DVC does not offer a team.",
        epilog="`ulna COMMAND --help` says more of each.",
    )
    parser.add_argument("--version", action="version", version=f"ulna {version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name == chosen:
            module = _module(name)
            command.description = module.__doc__
            command.formatter_class = argparse.RawDescriptionHelpFormatter
            module.add_arguments(command)
    return parser


def _module(command: str) -> ModuleType:
    room = "inference" if command in ANYWHERE else "team"
    return importlib.import_module(f"ulna.{room}.{command}")


def main(*arguments: str) -> None:
    """Run a command; bad input ends in its message on stderr and exit code 1."""
    given = list(arguments) or sys.argv[1:]
    # Only the module of the chosen command is imported: DVC takes half a second.
    chosen = next((argument for argument in given if argument in COMMANDS), None)
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # Names of files may hold what a locale cannot print.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with _one_sentence(chosen):
        parsed = _parse(given, chosen)
        if parsed.command not in ANYWHERE:
            os.chdir(find_root())
        code = _module(parsed.command).run(parsed)
        sys.stdout.flush()  # here, where a closed pipe is expected
    if code:
        raise SystemExit(code)


def _open_closed_streams() -> None:
    """Give what began without standard streams (`>&-`, some schedulers) empty ones."""
    # Python has None for them; and the next file to be opened would take the place of one.
    for place, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "w" if place else "r"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))


def _parse(given: list[str], chosen: str | None) -> argparse.Namespace:
    try:
        return build_parser(chosen).parse_args(given)
    except SystemExit as ended:
        # 2, as argparse ends, says of `ulna predict` that files were refused.
        if ended.code == 2 and chosen in ANYWHERE:
            raise SystemExit(1) from None
        raise


@contextmanager
def _one_sentence(command: str | None) -> Iterator[None]:
    """End in a sentence and an exit code where bad input, a closed pipe or Ctrl-C end the work."""
    try:
        yield
    except BrokenPipeError:
        # Nobody reads on, as in `ulna ... | head`. Python would say so once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if command is None or package in ("", "ulna"):
            raise
        needed = f"needs {package}, which is not installed: `pip install .` in ulna's folder"
        if command not in ANYWHERE:
            needed = (
                f"works in a clone of ulna, with the pipeline's packages ({package} is missing): "
                "`pip install -r requirements.txt` there"
            )
        print(f"{command} {needed}", file=sys.stderr)
        raise SystemExit(1) from None
    except MemoryError:
        print(f"{command}: it takes more memory than is free: free some", file=sys.stderr)
        raise SystemExit(1) from None
    except (InputError, OSError) as error:
        print(f"{command}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
