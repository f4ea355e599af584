"""A conversation that grows by questions and answers, and the loop that reads and shows them."""

from __future__ import annotations

import contextlib
import importlib
import logging
import signal
import sys
from collections.abc import Generator, Iterator

from xltjax.api import Model, open_model
from xltjax.chat.settings import ChatConfig
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.signals import Stopped, StopSignal
from xltjax.data.conversations import Message, half_surrogate
from xltjax.data.model_files import end_ids
from xltjax.inference.engine import Engine
from xltjax.mesh import batch_size, cache_compilations

log = logging.getLogger("xltjax")

HELP = (
    "/reset starts a new conversation, /system TEXT sets the system prompt, Ctrl-C stops an answer, "
    "Ctrl-D or /exit leaves"
)
COMMANDS = ("/reset", "/system", "/help", "/exit")


class Dialog:
    """A conversation that grows by questions and answers.

    Attributes:
        turns: the questions and answers so far, without the system prompt.
    """

    def __init__(self, model: Model, config: ChatConfig):
        """Begin with the system prompt of ``config``.

        Raises:
            UserError: when the answers leave no room for questions, or the template has no system prompt.
        """
        self._tokenizer, self._most = model.tokenizer, config.max_new_tokens
        self._positions = model.llama.config.max_positions
        if self._most >= self._positions:
            raise UserError(
                f"--max-new-tokens {self._most} leaves no room for a question in the {self._positions} positions of "
                f"the model; give at most {self._positions // 2}"
            )
        self.turns: list[Message] = []
        self._system, self._answers = "", 0
        self.set_system(config.system)
        self._engine = Engine(
            model.llama, model.mesh, slots=batch_size(model.mesh), max_new_tokens=self._most,
            sampling=config.sampling(), eos=end_ids(model.tokenizer), seed=config.seed,
        )  # fmt: skip

    def reset(self) -> None:
        """Forget all turns; the system prompt stays."""
        self.turns = []

    def set_system(self, text: str) -> None:
        """Let the conversation begin with another system prompt, or, for an empty text, without any.

        Raises:
            UserError: when the template has none. The conversation is then left as it is.
        """
        _check_text(text)
        if text.strip():
            self._tokenizer.check([Message("system", text), Message("user", "a")])
        self._system = text.strip()

    def ask(self, question: str) -> Generator[str]:
        """Ask, and yield the pieces of the answer as they come, which never end within a character.

        The question and its answer become turns of the conversation; when the answer is stopped by closing the
        generator, what has been yielded is the answer.

        Raises:
            UserError: for a question that cannot be asked, with which the conversation does not grow.
        """
        _check_text(question)
        turns = [*self.turns, Message("user", question)]
        whole = [Message("system", self._system), *turns] if self._system else turns
        ids = self._tokenizer.prompt(whole)
        if len(ids) + self._most > self._positions:
            raise UserError(
                f"the conversation has {len(ids)} tokens with this question, and with --max-new-tokens {self._most} "
                f"more than the {self._positions} positions of the model; /reset starts a new one"
            )
        self._answers += 1
        shown = ""
        try:
            for answer in self._engine.stream(f"answer-{self._answers}", ids):
                decode = self._tokenizer.decode if answer.finish_reason else self._tokenizer.settled
                before, shown = shown, decode(answer.ids)
                if piece := shown.removeprefix(before):
                    yield piece
        finally:
            if shown:
                self.turns = [*turns, Message("assistant", shown)]


def _check_text(text: str) -> None:
    if near := half_surrogate(text):
        raise UserError(f"the text contains half of a surrogate pair, at {near!r}")


def converse(dialog: Dialog, lines: Iterator[str], *, terminal: bool) -> None:
    """Answer every line until the last one or ``/exit``.

    Args:
        dialog: the conversation.
        lines: what is asked, and commands, which begin with a slash.
        terminal: whether somebody reads along: then control characters are not sent there.

    Raises:
        Stopped: when SIGTERM has arrived.
    """
    for line in lines:
        try:
            if line.startswith("/"):
                if not _obey(dialog, *line.partition(" ")[::2]):
                    return
            elif line.strip():
                _answer(dialog, line.strip(), terminal)
        except UserError as problem:
            log.error("error: %s", " ".join(str(problem).split()))


def _obey(dialog: Dialog, command: str, rest: str) -> bool:
    """Do what a command says; False when it says to leave."""
    command = command.strip()
    if command == "/reset":
        dialog.reset()
        log.info("new conversation")
    elif command == "/system":
        dialog.set_system(rest)
        log.info("the system prompt is set" if rest.strip() else "there is no system prompt")
    elif command == "/help":
        log.info(HELP)
    elif command in ("/exit", "/quit", "/bye"):
        return False
    else:
        raise UserError(
            f"unknown command {command}; {did_you_mean(command, COMMANDS)} (a question that begins with a slash "
            "needs a blank before it)"
        )
    return True


def _answer(dialog: Dialog, question: str, terminal: bool) -> None:
    shown = False
    with StopSignal() as stop, contextlib.closing(dialog.ask(question)) as pieces:
        for piece in pieces:
            shown = True
            print(_printable(piece) if terminal else piece, end="", flush=True)
            if stop.asked:
                break
    print(flush=True)
    if terminal and not shown and not stop.asked:
        log.info("the answer is empty")
    if stop.asked:
        log.info("stopped")
        if stop.number == signal.SIGTERM:
            raise Stopped(stop.number)


def _printable(text: str) -> str:
    """``text`` without control characters, which would be commands to a terminal."""
    return "".join(
        each if each in "\n\t" or (each >= " " and not "\x7f" <= each <= "\x9f") else " " for each in text
    )


def typed_lines() -> Iterator[str]:
    """Lines that somebody types, until Ctrl-D. Ctrl-C starts a new line."""
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")  # gives ``input`` a history and editing
    while True:
        try:
            yield input("> ")
        except KeyboardInterrupt:
            print()
        except UnicodeDecodeError:
            log.error("error: the line is not UTF-8 text")
        except EOFError:
            print()
            return


def piped_lines() -> Iterator[str]:
    """The lines of the standard input where nobody types."""
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise UserError(f"line {number} of the standard input is not UTF-8 text") from None


def run(config: ChatConfig) -> None:
    """Load the model, and talk until the standard input ends.

    Raises:
        UserError: for a model that cannot be used, or text that is not UTF-8 in a pipe.
    """
    cache_compilations()
    model = open_model(
        config.model, adapter=config.adapter or None, mesh=config.mesh, dtype=config.dtype,
        template=config.template or None, base=config.base, date=config.template_date,
    )  # fmt: skip
    dialog = Dialog(model, config)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if terminal:
        log.info("%s with the chat template %s: %s", config.model, model.tokenizer.template, HELP)
    converse(dialog, typed_lines() if terminal else piped_lines(), terminal=terminal)
