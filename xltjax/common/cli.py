"""Commands made from settings: flags, ``--config``, ``--print-config``, and errors of one line.

Every command of xltjax is ``command(SettingsClass, function)``; ``execute`` runs it with the error
contract: a user's mistake prints ``error: ...`` on stderr and exits with code 2, without a traceback.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import logging
import signal
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.provenance import remember_command
from xltjax.common.settings import (
    build,
    current_names,
    overlay,
    read_config_files,
    refuse_both,
    shipped_configs,
    to_yaml,
)
from xltjax.common.signals import Stopped, interrupt_normally

# Errors of the file system that the user can fix, whatever was being done.
FIXABLE = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EPERM, errno.ENAMETOOLONG,
    errno.EIO, errno.ESTALE, errno.EXDEV, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODEV,
    errno.EMFILE, errno.ENFILE, errno.ELOOP,
)  # fmt: skip

ARGUMENTS, OTHER_FORMATS, GENERAL = "Arguments", "Reading other formats", "General"  # sections of ``--help``
_PLACES = {ARGUMENTS: 0, OTHER_FORMATS: 2, GENERAL: 3}  # all other sections are between the first two
WIDEST = 60  # columns of choices beside a flag; more are listed in its help
LONGEST_HINT = 300  # characters of a list of flags
CONTEXT: dict[str, Any] = {"max_content_width": 110, "help_option_names": ["-h", "--help"]}


class _Flag(click.Option):
    """A flag under one section of ``--help``."""

    def __init__(self, names: Sequence[str], *, section: str = GENERAL, **options: Any):
        super().__init__(names, **options)
        self.section = section


def _completions(hint: Any, *, config: bool = False) -> Callable[..., list[CompletionItem]]:
    """What the shell offers for a value: the choices of a setting, or else files where it is a text."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        known = shipped_configs() if config else _choices(hint)
        items = [CompletionItem(each) for each in known if each.startswith(incomplete)]
        return items or ([CompletionItem(incomplete, type="file")] if _holds_text(hint) else [])

    return complete


class _Positional(click.Argument):
    """A value given without a flag, which ``--help`` explains, unlike click's own arguments."""

    section = ARGUMENTS

    def __init__(self, name: str, *, metavar: str, help: str, **options: Any):
        super().__init__([name], metavar=metavar, required=False, **options)
        self._record = (metavar, help)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return self._record


class _SettingsCommand(click.Command):
    """A click command whose ``--help`` has sections, and whose errors name the flag that was probably meant."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as mistake:
            shown = [one for one in self.get_params(ctx) if isinstance(one, click.Option) and not one.hidden]
            flags = [flag for option in shown for flag in option.opts if flag.startswith("--")]
            name = mistake.option_name
            hint = did_you_mean(name, flags)
            if len(hint) > LONGEST_HINT:
                hint = "--help lists those there are"
            raise UserError(f"unknown flag {name}; {hint}") from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                section = parameter.section if isinstance(parameter, (_Flag, _Positional)) else GENERAL
                sections.setdefault(section, []).append(record)
        for section in sorted(sections, key=lambda name: _PLACES.get(name, 1)):
            with formatter.section(section):
                formatter.write_dl(sections[section])


def command(
    config_class: type[Any],
    function: Callable[[Any], None],
    *,
    name: str,
    help: str,
    fallback: tuple[str, str] | None = None,
) -> click.Command:
    """A click command with one flag per field of ``config_class``, calling ``function(config)``.

    Args:
        config_class: a frozen dataclass whose fields are made by ``settings.setting``.
        function: what the command does.
        name: the name of the command.
        help: the first line of its ``--help``.
        fallback: (config, setting): the shipped config that is used when neither ``--config`` nor this
            setting is given.
    """

    def callback(
        config: tuple[str, ...], print_config: bool, quiet: bool, verbose: bool, **flags: Any
    ) -> None:
        _set_level(quiet, verbose)
        given = {key: value for key, value in flags.items() if value is not None and value != ()}
        given = current_names(config_class, given)
        refuse_both(config_class, given)
        if fallback and not config and fallback[1] not in given:
            config = fallback[:1]
        resolved = build(config_class, overlay(config_class, read_config_files(config_class, config), given))
        if print_config:
            click.echo(to_yaml(resolved, explained=True), nl=False)
        else:
            function(resolved)

    hints = typing.get_type_hints(config_class)
    parameters = [
        parameter
        for field in dataclasses.fields(config_class)
        for parameter in (
            _parameter(field, hints[field.name]),
            *(_flag(old, field, hints[field.name], hidden=True) for old in field.metadata["former"]),
        )
    ]
    parameters += [
        _Flag(
            ["--config"],
            multiple=True,
            metavar="FILE",
            shell_complete=_completions(str, config=True),
            help="YAML file of settings, or the name of a shipped one. Repeatable: later files override earlier "
            "ones, and flags override all.",
        ),
        _Flag(["--print-config"], is_flag=True, help="Print the resulting settings as YAML and exit."),
        _Flag(["--quiet"], is_flag=True, help="Show only warnings and results."),
        _Flag(["--verbose"], is_flag=True, help="Also show the log messages of libraries."),
        _Flag(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
            help="Print the version and exit.",
        ),
    ]  # fmt: skip
    return _SettingsCommand(name, params=parameters, callback=callback, help=help, context_settings=CONTEXT)


def _set_level(quiet: bool, verbose: bool) -> None:
    if quiet and verbose:
        raise UserError("give --quiet or --verbose, not both")
    if quiet:
        logging.getLogger("xltjax").setLevel(logging.WARNING)
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


def _print_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(f"xltjax {metadata.version('xltjax')}")
        context.exit()


class _Group(click.Group):
    """A click group whose error for an unknown command names the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and args[0] not in self.commands:
            raise UserError(f"unknown command {args[0]!r}; {did_you_mean(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


def group(commands: Sequence[click.Command], *, name: str, help: str) -> click.Group:
    """Several commands under one name; without a command, the name prints their list."""

    @click.pass_context
    def callback(ctx: click.Context) -> None:
        if ctx.invoked_subcommand is None:
            click.echo(ctx.get_help())

    return _Group(
        name,
        commands=commands,
        callback=callback,
        help=help,
        invoke_without_command=True,
        context_settings=CONTEXT,
    )


def _parameter(field: dataclasses.Field[Any], hint: Any) -> click.Parameter:
    """The flag of a setting, or its argument when it is positional."""
    if not field.metadata["positional"]:
        return _flag(field.name, field, hint)
    many = typing.get_origin(hint) is tuple
    metavar = field.name.upper() + ("..." if many else "")
    return _Positional(
        field.name, metavar=metavar, help=field.metadata["help"], nargs=-1 if many else 1,
        shell_complete=_completions(hint),
    )  # fmt: skip


def _flag(name: str, field: dataclasses.Field[Any], hint: Any, *, hidden: bool = False) -> click.Option:
    """The flag ``name`` of a setting; a former name of it is ``hidden`` from ``--help``."""
    flag = "--" + name.replace("_", "-")
    many = typing.get_origin(hint) is tuple
    default: Any = field.default
    shown = ",".join(map(str, default)) if many else default
    help = field.metadata["help"]
    if _metavar(hint) == "NAME":
        help += f" One of: {', '.join(_choices(hint))}."
    if default not in (None, (), ""):
        help += f"  [default: {str(shown).lower() if isinstance(shown, bool) else shown}]"
    options: dict[str, Any] = {"section": field.metadata["section"], "help": help, "hidden": hidden}
    if hint is not bool:
        options["shell_complete"] = _completions(hint)
    else:
        return _Flag([f"{flag}/--no-{flag[2:]}"], default=None, **options)
    if field.metadata["mapping"]:
        return _Flag([flag], multiple=True, metavar="OURS=THEIRS,...", **options)
    if many and field.metadata["paths"]:
        return _Flag([flag], multiple=True, metavar=field.metadata["metavar"], **options)
    return _Flag([flag], metavar=_metavar(hint), **options)


def _choices(hint: Any) -> list[str]:
    return [a for a in typing.get_args(hint) if isinstance(a, str)]


def _base(hint: Any) -> Any:
    return next((a for a in typing.get_args(hint) if a is not type(None)), hint)


def _holds_text(hint: Any) -> bool:
    return _base(hint) is str


def _metavar(hint: Any) -> str:
    if choices := _choices(hint):
        joined = "|".join(choices)
        return joined if len(joined) <= WIDEST else "NAME"
    base = _base(hint)
    many = typing.get_origin(hint) is tuple
    return {int: "N", float: "X", str: "TEXT"}.get(base, "VALUE") + (",..." if many else "")


def execute(command: click.Command, arguments: Sequence[str] | None = None, program: str = "") -> NoReturn:
    """Run ``command`` and exit: 0 when done, 2 after a user's mistake, 130 or 143 when interrupted.

    What xltjax logs meanwhile goes to stderr as plain lines.
    """
    interrupt_normally()
    if program:
        remember_command([*program.split(), *(sys.argv[1:] if arguments is None else arguments)])
    try:
        with _logging_to_stderr():
            code = command.main(args=arguments, prog_name=program or None, standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as mistake:
        code = _complain(mistake.format_message())
    except UserError as mistake:
        code = _complain(str(mistake))
    except (KeyboardInterrupt, click.Abort) as stopped:
        print("interrupted", file=sys.stderr)
        cause = stopped.__cause__ or stopped  # click raises Abort from an interrupt
        code = 128 + (cause.number if isinstance(cause, Stopped) else signal.SIGINT)
    except MemoryError:
        code = _complain("out of memory; use a smaller batch, a smaller model or a larger mesh")
    except OSError as problem:
        if problem.errno not in FIXABLE:
            raise
        code = _complain(f"{problem.strerror}: {problem.filename or 'while writing'}")
    except Exception as problem:
        # The accelerator's allocator raises its own type, which must not be imported here.
        if "RESOURCE_EXHAUSTED" not in str(problem):
            raise
        code = _complain(
            "the device is out of memory; lower --rows-per-device or --batch-size, or use more devices "
            f"({str(problem).splitlines()[0][:160]})"
        )
    sys.exit(code if isinstance(code, int) else 0)


def entry_point(command: click.Command, program: str) -> Callable[[], NoReturn]:
    """The ``main`` of a module: it executes ``command`` with the arguments that were typed behind ``program``."""
    return functools.partial(execute, command, program=program)


@contextlib.contextmanager
def _logging_to_stderr() -> Iterator[None]:
    """Print what xltjax logs as plain lines on stderr, whatever other libraries do with logging."""
    log = logging.getLogger("xltjax")
    before = log.level, log.propagate, log.handlers
    log.setLevel(logging.INFO)
    log.propagate, log.handlers = False, [logging.StreamHandler()]
    try:
        yield
    finally:
        log.setLevel(before[0])
        log.propagate, log.handlers = before[1:]


def _complain(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2
