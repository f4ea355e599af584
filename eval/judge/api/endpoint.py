"""Where a judge behind an API is, and the key for it, which never leaves the environment except in its header."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from xltjax.common.errors import UserError

log = logging.getLogger("xltjax")

OPENAI = "https://api.openai.com/v1"
PREFIX = "openai:"
HIDDEN = "[key]"
# A shorter key is a placeholder, such as EMPTY, which may be part of any text.
SHORTEST_KEY = 8
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True)
class Endpoint:
    """A model behind a server with the Chat Completions API.

    Attributes:
        model: the name of the model.
        base_url: without a slash at its end.
        key: empty when there is none.
        variable: the environment variable of the key.
        flag: the flag with which it was named, for messages.
        identity: what stands for the server in the keys of requests; its URL when empty.
    """

    model: str
    base_url: str
    key: str = field(repr=False)
    variable: str
    flag: str = "--judge"
    identity: str = ""

    @property
    def host(self) -> str:
        """The host, with its port."""
        return urlsplit(self.base_url).netloc

    def hide(self, text: str) -> str:
        """``text`` without the key, which a server may have put into its answer."""
        return text.replace(self.key, HIDDEN) if len(self.key) >= SHORTEST_KEY else text

    def check_key(self) -> None:
        """Refuse an endpoint that needs a key and has none, and give notice of a key that goes out in the open.

        Raises:
            UserError: when the key is missing.
        """
        if not self.key and self.base_url == OPENAI:
            raise UserError(
                f"set {self.variable} to your key for {OPENAI}, or name another server with --base-url"
            )
        host = urlsplit(self.base_url).hostname or ""
        if len(self.key) >= SHORTEST_KEY and self.base_url.startswith("http://") and not _is_local(host):
            log.warning("notice: the key in %s goes to %s without encryption", self.variable, self.host)


def read_endpoint(
    name: str,
    base_url: str,
    variable: str,
    environment: Mapping[str, str] = os.environ,
    *,
    flag: str = "--judge",
) -> Endpoint:
    """The endpoint of ``--judge openai:MODEL`` or ``openai:MODEL@URL``.

    Args:
        name: what was given.
        base_url: of the judges that name no URL of their own; when empty, ``$OPENAI_BASE_URL`` or OpenAI's.
        variable: the environment variable of the key.
        environment: the environment variables.
        flag: the flag with which it was given.

    Raises:
        UserError: for a judge or URL that cannot be used. No message contains the key.
    """
    model, _, own = name.removeprefix(PREFIX).partition("@http")
    url = _base_url(f"http{own}" if own else base_url or environment.get("OPENAI_BASE_URL", "") or OPENAI)
    if not model:
        raise UserError(f"{flag} {name}: name the model, such as {PREFIX}MODEL")
    if not _VARIABLE.fullmatch(variable):
        # What was given may be the key itself, so it is not shown.
        raise UserError(
            "--key-variable is the name of an environment variable, such as OPENAI_API_KEY, not a key"
        )
    key = environment.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(f"the key in {variable} has characters that no key has; copy it again")
    return Endpoint(model, url, key, variable, flag)


def _base_url(url: str) -> str:
    """``url`` in one spelling.

    Raises:
        UserError: unless it is an http(s) URL without a user, a query and a fragment. A password is not shown.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
        host = parts.hostname
    except ValueError:
        raise UserError("--base-url is not a URL, such as http://localhost:8000/v1") from None
    if parts.username is not None or parts.password is not None:
        raise UserError("--base-url must not have a user or a password; put the key into the environment")
    if parts.query or parts.fragment:
        raise UserError("--base-url must not have a part after ? or #, which would not be sent")
    if re.fullmatch(r"[\d.]+", host or "") and not _is_address(host or ""):
        raise UserError("--base-url has an invalid IP address, which needs four numbers up to 255")
    plain = url.strip().isprintable() and " " not in url.strip()
    if parts.scheme.lower() not in ("http", "https") or not host or not plain:
        raise UserError("--base-url must be an http(s) URL, such as http://localhost:8000/v1")
    shown = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return f"{parts.scheme.lower()}://{shown}{f':{port}' if port else ''}{path}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback if _is_address(host) else host == "localhost"
