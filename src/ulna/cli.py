"""The command line of `ulna`: what DVC does not offer a team."""

import argparse
import importlib
import os
import sys
import tomllib
from pathlib import Path

from ulna.core import InputError

# Command -> its help. Each is a module of `ulna.team` of that name, with two functions,
# `add_arguments(parser)` and `run(arguments)`; the module's docstring is its description.
COMMANDS = {
    "compare": "tell which differences between revisions are significant, and rank many",
    "doctor": "tell whether this machine and this folder are ready, and how to mend what is not",
    "experiments": "list experiments with their scores and what was changed, in 120 columns",
    "share": "send data, runs and experiments to a remote, so that nobody trains them again",
    "summary": "show the headline scores of the last run, and where to read on",
    "verify": "hash everything anew and list what does not match",
}


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; the module of the chosen one adds its arguments."""
    parser = argparse.ArgumentParser(
        prog="ulna",
        description="What DVC does not offer a team. `dvc` does all else.",
        epilog="`ulna COMMAND --help` says more of each.",
    )
    parser.add_argument("--version", action="version", version=f"ulna {version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name == chosen:
            module = importlib.import_module(f"ulna.team.{name}")
            command.description = module.__doc__
            command.formatter_class = argparse.RawDescriptionHelpFormatter
            module.add_arguments(command)
    return parser


def version() -> str:
    """The version that pyproject.toml states; ulna runs from its source and is not installed."""
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    return str(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"])


def find_root() -> Path:
    """The repository around the working directory, as DVC finds it; outside one, that directory."""
    # From a folder in it git and DVC name files in another way, and params.yaml is not found.
    here = Path.cwd()
    return next((path for path in (here, *here.parents) if (path / ".dvc").is_dir()), here)


def main(*arguments: str) -> None:
    """Run a command; bad input ends in its message on stderr and exit code 1."""
    given = list(arguments) or sys.argv[1:]
    # Only the module of the chosen command is imported: DVC takes half a second.
    chosen = next((argument for argument in given if argument in COMMANDS), None)
    parsed = build_parser(chosen).parse_args(given)
    module = importlib.import_module(f"ulna.team.{parsed.command}")
    try:
        os.chdir(find_root())
        module.run(parsed)
    except BrokenPipeError:
        # Nobody reads on, as in `ulna ... | head`. Python would say so once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (InputError, OSError) as error:
        print(f"{parsed.command}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
