"""A conversation with a model on the terminal. ``python -m xltjax.chat``."""

from __future__ import annotations

from xltjax.chat.settings import ChatConfig
from xltjax.common import cli
from xltjax.common.errors import UserError
from xltjax.common.signals import importing


def chat(config: ChatConfig) -> None:
    """Talk, as the settings say."""
    if not config.model:
        raise UserError("--model is missing: a Hugging Face directory or id, a run, or 'miniature'")
    with importing():  # JAX, which --help does not need
        from xltjax.chat.dialog import run

    run(config)


COMMAND = cli.command(
    ChatConfig,
    chat,
    name="chat",
    help="Chat with a model in the terminal, with the settings of generate.",
)


main = cli.entry_point(COMMAND, "python -m xltjax.chat")


if __name__ == "__main__":
    main()
