"""A session for clients built on requests, dataikuapi's first of all."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING

from holdfast.client.discovery import Where, source_of
from holdfast.client.settings import Settings
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    import requests


def session(
    where: Where,
    *,
    base_uri: str | None = None,
    service: str | None = None,
    pure: Iterable[str] = (),
    settings: Settings | None = None,
    tls: ssl.SSLContext | None = None,
) -> requests.Session:
    """A ``requests.Session`` whose queries go to whichever node is best, and survive any's loss.

    ``client = dataikuapi.APINodeClient(any_node, …); client._session = session(all_nodes)``.
    It stands for ``base_uri`` and for each node's URL that is known from the start; other URLs
    are asked as ever. ``service``: nodes that do not have it ready are left out, else only those
    that are not alive. Failures are requests' own: ``ConnectionError``, ``ReadTimeout``.
    Raises ``ConfigError`` where requests is not installed.
    """
    try:
        import requests  # noqa: PLC0415 - optional

        from holdfast.client.adapter import NodesAdapter  # noqa: PLC0415
    except ImportError:
        raise ConfigError("This needs requests: python -m pip install requests.") from None
    source = source_of(where)
    bases = [str(one) for one in source.known() if not one.ip]
    if base_uri is not None:
        bases.append(base_uri.rstrip("/"))
    if not bases:
        raise ConfigError("Give base_uri: the URI that your client calls the nodes by.")
    adapter = NodesAdapter(source, bases, service, frozenset(pure), settings or Settings(), tls)
    made = requests.Session()
    for base in bases:
        made.mount(f"{base}/", adapter)
    return made
