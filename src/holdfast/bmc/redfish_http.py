"""How Redfish requests travel: connections, authentication, redirects, bounds (DSP0266).

Sessions are kept per BMC and account; where a BMC has none (``auth_type`` auto),
each request carries basic authentication. A BMC is not trusted: its links are
followed on its own origin only, its answers are bounded, and its words are
shortened before they go into an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets as random_bytes
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Mapping
from typing import cast

import aiohttp
import msgspec
import structlog
from yarl import URL

from holdfast.bmc.commands import Command, Target
from holdfast.bmc.errors import (
    BmcAuthError,
    BmcRefusedError,
    BmcTimeoutError,
    BmcUnreachableError,
)
from holdfast.bmc.outbound import AnswerError, Connected, Trust, is_denied, new_session, read_json
from holdfast.bmc.settings import BmcSettings
from holdfast.bmc.untrusted import inside, text, words
from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

log = structlog.get_logger()

ROOT = "/redfish/v1/"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
REDIRECTS_MAX = 3
NO_SESSIONS = frozenset({404, 405, 501})  # answers of a BMC without a session service
LINK_LENGTH_MAX = 1024


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a BMC answered. ``document`` is None when there was none, or it was not JSON."""

    status: int
    headers: Mapping[str, str]
    document: Json
    fault: str | None = None  # why the document could not be read

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Account:
    """A login at a BMC that is kept between commands. Holds no password."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.token: str | None = None
        self.location: URL | None = None  # of the session, to delete it
        self.origin = ""  # the header of the last command that used it
        self.verify_ca: bool | str = True
        self.basic_until = 0.0  # the BMC has no sessions: not asked again before (loop time)


class Transport:
    """Connections and logins to all BMCs; one per gateway. Close it at the end."""

    def __init__(self, settings: BmcSettings, connected: Connected) -> None:
        self.settings = settings
        self.session = new_session(settings, connected)
        self.trust = Trust(settings)
        self._accounts: OrderedDict[bytes, Account] = OrderedDict()
        self._pepper = random_bytes.token_bytes(32)  # so that a key says nothing of a password

    def account(self, origin: str, username: str, password: str) -> Account:
        """The login for one user at one BMC, forgetting the least used ones."""
        login = f"{origin}\0{username}\0{password}".encode()
        key = hashlib.blake2b(login, key=self._pepper).digest()
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account()
        self._accounts.move_to_end(key)
        if len(self._accounts) > self.settings.bmcs_remembered_max:
            self._accounts.popitem(last=False)
        return account

    async def close(self) -> None:
        """Delete the sessions we made, as far as the BMCs answer in time."""
        accounts = [account for account in self._accounts.values() if account.token]
        self._accounts.clear()
        try:
            async with asyncio.timeout(self.settings.logout_s):
                await asyncio.gather(*(self._log_out(account) for account in accounts))
        except TimeoutError:
            log.warning("bmc.logout_unfinished", sessions=len(accounts))
        finally:
            await self.session.close()

    async def _log_out(self, account: Account) -> None:
        if account.location is None or account.token is None:
            return
        headers = {"X-Auth-Token": account.token, "X-Holdfast-Origin": account.origin}
        try:
            async with self.session.delete(
                account.location,
                headers=headers,
                ssl=self.trust.for_bmc(account.verify_ca),
                allow_redirects=False,
                trace_request_ctx=account.location.scheme,
            ):
                pass
        except (aiohttp.ClientError, TimeoutError, InvalidInputError):
            return  # the session ends by itself after a while


class Link:
    """One command's way to its BMC. Raises ``bmc.errors`` only."""

    def __init__(self, transport: Transport, command: Command, secrets: dict[str, Json]) -> None:
        self._transport = transport
        self._target = command.target
        self._origin_url = origin_of(command.target)
        self._origin = command.origin.header()
        self._ssl = transport.trust.for_bmc(command.target.verify_ca)
        self._username = str(secrets.get("username") or "")
        self._password = str(secrets.get("password") or "")
        self._account = transport.account(str(self._origin_url), self._username, self._password)
        self._account.origin = self._origin
        self._account.verify_ca = command.target.verify_ca

    @property
    def address(self) -> str:
        """The BMC's origin, for error sentences."""
        return str(self._origin_url).rstrip("/")

    async def get(self, path: str) -> tuple[dict[str, Json], Mapping[str, str]]:
        """A resource and the headers it came with; anything else is a refusal."""
        reply = await self.send("GET", path)
        if not reply.ok:
            raise self.refusal(f"GET {path}", reply)
        if reply.fault is not None:
            raise BmcRefusedError(f"The BMC at {self.address} {reply.fault} (GET {path}).")
        return self.as_object(reply.document, path), reply.headers

    def as_object(self, value: Json, what: str) -> dict[str, Json]:
        """``value`` if it is a JSON object; else the BMC is refused as talking nonsense."""
        if not isinstance(value, dict):
            raise BmcRefusedError(
                f"The BMC at {self.address} sent {what} as {type(value).__name__}, not an object."
            )
        return cast("dict[str, Json]", value)

    def path_of(self, reference: Json, what: str) -> str:
        """The path of ``{"@odata.id": ...}`` or of a bare link, on this BMC only."""
        href = reference if isinstance(reference, str) else inside(reference, "@odata.id")
        if not isinstance(href, str) or not 0 < len(href) <= LINK_LENGTH_MAX:
            raise BmcRefusedError(f"The BMC at {self.address} sent no usable link for {what}.")
        return self._own(href, what).raw_path_qs

    async def send(
        self,
        method: str,
        path: str,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request, logged in; a session that has ended is renewed once."""
        token = await self._log_in()
        reply = await self._exchange(method, path, body, self._authorise(token, headers))
        if reply.status == 401 and token is not None:
            self._forget(token)
            token = await self._log_in()
            reply = await self._exchange(method, path, body, self._authorise(token, headers))
        if reply.status in (401, 403):
            raise BmcAuthError(
                f"The BMC at {self.address} refuses {method} {path} to user "
                f"{self._username or '(none)'}: {self._words(reply)}. Check the credentials."
            )
        return reply

    def refusal(self, what: str, reply: Reply) -> BmcRefusedError:
        """The error for an answer that is none of the good ones."""
        return BmcRefusedError(
            f"The BMC at {self.address} refused {what}: {self._words(reply)}.",
            bmc_status=reply.status,
        )

    # -- authentication -------------------------------------------------------------------

    def _authorise(self, token: str | None, headers: Mapping[str, str] | None) -> dict[str, str]:
        sent = dict(headers or {})
        if token is not None:
            sent["X-Auth-Token"] = token
        elif self._username:
            pair = f"{self._username}:{self._password}".encode()
            sent["Authorization"] = "Basic " + b64encode(pair).decode()
        return sent

    def _forget(self, token: str) -> None:
        if self._account.token == token:
            self._account.token = None

    async def _log_in(self) -> str | None:
        """The session's token; None: the requests carry basic authentication, or nothing."""
        account = self._account
        now = asyncio.get_running_loop().time()
        if not self._username or self._target.auth_type == "basic":
            return None
        async with account.lock:
            if account.token is not None:
                return account.token
            if self._target.auth_type == "auto" and now < account.basic_until:
                return None
            account.token = await self._new_session()
            if account.token is None:
                account.basic_until = now + self._transport.settings.discovery_s
            return account.token

    async def _new_session(self) -> str | None:
        """Make a session (DSP0266, 13.3.4); None when basic authentication is to be used."""
        collection = await self._session_collection()
        if collection is None:
            return self._no_session("offers no sessions")
        credentials = {"UserName": self._username, "Password": self._password}
        reply = await self._exchange("POST", collection, credentials, {})
        if reply.status in (401, 403):
            raise BmcAuthError(
                f"The BMC at {self.address} refuses the login of user {self._username}: "
                f"{self._words(reply)}. Check the credentials."
            )
        token = reply.headers.get("X-Auth-Token")
        if not reply.ok or not token:
            return self._no_session(f"gives no session: {self._words(reply)}")
        location = reply.headers.get("Location") or text(reply.document, "@odata.id")
        self._account.location = self._own(location, "its session") if location else None
        return token

    async def _session_collection(self) -> str | None:
        reply = await self._exchange("GET", ROOT, None, {})
        if reply.status in NO_SESSIONS or reply.status in (401, 403):
            return None
        if not reply.ok:
            raise self.refusal(f"GET {ROOT}", reply)
        root = self.as_object(reply.document, ROOT)
        sessions = inside(root, "Links", "Sessions")
        return None if sessions is None else self.path_of(sessions, "sessions")

    def _no_session(self, why: str) -> None:
        if self._target.auth_type == "session":
            raise BmcAuthError(
                f"The BMC at {self.address} {why}; set its auth_type to basic or auto."
            )

    # -- one exchange ---------------------------------------------------------------------

    async def _exchange(self, method: str, path: str, body: Json, headers: dict[str, str]) -> Reply:
        """Send, following redirects of a GET on the BMC's own origin."""
        url = self._own(path, f"{method} {path}")
        for _ in range(REDIRECTS_MAX + 1):
            reply = await self._once(method, url, body, headers)
            if reply.status not in REDIRECTS:
                return reply
            if method != "GET":
                break
            url = self._own(reply.headers.get("Location", ""), f"a redirect of {path}")
        raise BmcRefusedError(
            f"The BMC at {self.address} keeps redirecting {method} {path}; nothing was sent on."
        )

    async def _once(self, method: str, url: URL, body: Json, headers: dict[str, str]) -> Reply:
        sent = {"X-Holdfast-Origin": self._origin, "OData-Version": "4.0", **headers}
        try:
            async with self._transport.session.request(
                method,
                url,
                data=None if body is None else _json_payload(body),
                headers=sent,
                ssl=self._ssl,
                allow_redirects=False,
                trace_request_ctx=url.scheme,
            ) as response:
                document, fault = None, None
                try:
                    document = await read_json(response, self._transport.settings.answer_bytes_max)
                except AnswerError as error:
                    fault = str(error)
                return Reply(
                    status=response.status,
                    headers=response.headers,
                    document=document,
                    fault=fault,
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            kind = BmcRefusedError if is_denied(error) else BmcUnreachableError
            raise kind(
                f"The BMC at {self.address} cannot be reached: {_reason(error)}. "
                "Nothing was executed."
            ) from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError):
            raise BmcTimeoutError(
                f"The BMC at {self.address} broke off {method} {url.path} without an answer; "
                "whether it acted is unknown. Observe before repeating.",
                begun=True,
            ) from None
        except aiohttp.ClientError as error:
            raise BmcRefusedError(
                f"The BMC at {self.address} does not speak HTTP as it should "
                f"({type(error).__name__} at {method} {url.path})."
            ) from None

    def _own(self, href: str, what: str) -> URL:
        """``href`` on the BMC's own origin, or a refusal: credentials go nowhere else."""
        try:
            url = self._origin_url.join(URL(href))
            if url.origin() == self._origin_url.origin():
                return url
        except ValueError:
            pass
        raise BmcRefusedError(
            f"The BMC at {self.address} points elsewhere for {what}; that is not followed."
        )

    def _words(self, reply: Reply) -> str:
        """What the BMC says of an error, short, printable and without the password."""
        said = words(_message(reply.document), self._password)
        return f"{reply.status} {said}".strip()


def origin_of(target: Target) -> URL:
    """The BMC's origin, or ``InvalidInputError`` for an address that is none."""
    try:
        url = URL(target.address)
        bare = url.path in ("", "/") and not (url.query_string or url.fragment)
        if url.scheme in ("http", "https") and url.host and bare and url.user is None:
            return url.origin()
    except ValueError:
        pass
    raise InvalidInputError(
        f"{target.address!r} is not the address of a BMC; write http(s)://host[:port]."
    )


def _json_payload(body: Json) -> aiohttp.BytesPayload:
    return aiohttp.BytesPayload(msgspec.json.encode(body), content_type="application/json")


def _reason(error: Exception) -> str:
    """Why a connection failed, without what the error may say of the request."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "the TLS handshake failed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    return "it does not accept connections in time"


def _message(document: Json) -> str:
    """The sentence in a Redfish error (DSP0266, 8.6), or nothing."""
    detail = text(document, "error", "@Message.ExtendedInfo", 0, "Message")
    return detail or text(document, "error", "message") or ""
