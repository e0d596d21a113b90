"""A small Redfish BMC in this process, with the habits and vices of real ones as switches."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

USER, PASSWORD = "admin", "correct horse"
SYSTEM = "/redfish/v1/Systems/1"
MANAGER = "/redfish/v1/Managers/1"
SESSIONS = "/redfish/v1/SessionService/Sessions"
RESET = f"{SYSTEM}/Actions/ComputerSystem.Reset"

Answer = web.StreamResponse
Twist = Callable[[web.Request], Answer | None]


class MockBmc:
    """Use as ``async with``; ``url`` is then its address. Attributes may be changed at any time."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.url = ""
        self.power = "Off"
        self.boot: dict[str, Any] = {"BootSourceOverrideEnabled": "Disabled"}
        self.image: str | None = None
        self.systems = [SYSTEM]
        self.resets = ["On", "ForceOff", "GracefulShutdown"]
        self.media_under = SYSTEM  # or MANAGER, or nothing
        self.authenticated = True  # whether credentials are asked for at all
        self.has_sessions = True
        self.tokens: set[str] = set()
        self.logins = 0
        self.etag: str | None = None  # wanted in If-Match
        self.etag_sent: str | None = None
        self.twist: Twist = lambda _: None  # may answer instead of the BMC
        self.before: Callable[[web.Request], Awaitable[object]] | None = None  # may wait
        self.journal: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[Any] = []
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)

    async def __aenter__(self) -> MockBmc:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def changes(self) -> list[tuple[str, str]]:
        """What was sent that is not reading, logins left out."""
        return [
            (method, path)
            for method, path in self.journal
            if method != "GET" and not path.startswith(SESSIONS)
        ]

    async def _answer(self, request: web.Request) -> Answer:
        self.journal.append((request.method, request.path))
        self.headers.append(dict(request.headers))
        body = await request.json() if request.can_read_body else None
        self.bodies.append(body)
        if self.before is not None:
            await self.before(request)
        twisted = self.twist(request)
        if twisted is not None:
            return twisted
        if (request.method, request.path) == ("POST", SESSIONS):
            return self._login(body)
        public = request.path == "/redfish/v1/"
        if self.authenticated and not public and not self._is_known(request):
            return refuse(401, "Who are you?")
        if request.path.startswith(SESSIONS) and request.method == "DELETE":
            self.tokens.discard(request.path.rsplit("/", 1)[-1])
            return web.Response(status=204)
        return self._resource(request, body)

    def _is_known(self, request: web.Request) -> bool:
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return (
            request.headers.get("Authorization") == f"Basic {pair}"
            or request.headers.get("X-Auth-Token") in self.tokens
        )

    def _login(self, body: Any) -> Answer:
        if not self.has_sessions:
            return refuse(404, "No such thing")
        if body != {"UserName": USER, "Password": PASSWORD}:
            return refuse(401, f"Wrong: {body.get('Password')}")
        self.logins += 1
        token = f"token{self.logins}"
        self.tokens.add(token)
        headers = {"X-Auth-Token": token, "Location": f"{SESSIONS}/{token}"}
        return web.json_response({}, status=201, headers=headers)

    def _resource(self, request: web.Request, body: Any) -> Answer:
        act = f"{request.method} {request.path}"
        media = f"{self.media_under}/VirtualMedia"
        if act == f"POST {RESET}":
            self.power = "On" if "On" in body["ResetType"] else "Off"
            return web.Response(status=204)
        if act == f"POST {media}/Cd/Actions/Insert":
            self.image = body["Image"]
            return web.Response(status=204)
        if act == f"POST {media}/Cd/Actions/Eject":
            self.image = None
            return web.Response(status=204)
        if request.method == "PATCH" and request.path in self.systems:
            if self.etag is not None and request.headers.get("If-Match") != self.etag:
                return refuse(412, "Precondition failed")
            self.boot.update(body["Boot"])
            return web.Response(status=204)
        document = self._documents(media).get(request.path)
        if request.method != "GET" or document is None:
            return refuse(404, f"Nothing at {request.path}")
        headers = {"ETag": self.etag_sent} if self.etag_sent else {}
        return web.json_response(document, headers=headers)

    def _documents(self, media: str) -> dict[str, dict[str, Any]]:
        links = {"Sessions": ref(SESSIONS)} if self.has_sessions else {}
        documents: dict[str, dict[str, Any]] = {
            "/redfish/v1/": {"Systems": ref("/redfish/v1/Systems"), "Links": links},
            "/redfish/v1/Systems": {"Members": [ref(path) for path in self.systems]},
            MANAGER: {"VirtualMedia": ref(media)} if self.media_under == MANAGER else {},
        }
        documents |= {path: self._system() for path in self.systems}
        if self.media_under:
            documents[media] = {"Members": [ref(f"{media}/Usb"), ref(f"{media}/Cd")]}
            documents[f"{media}/Usb"] = {"MediaTypes": ["USBStick"]}
            documents[f"{media}/Cd"] = self._drive(f"{media}/Cd")
        return documents

    def _system(self) -> dict[str, Any]:
        system: dict[str, Any] = {
            "Manufacturer": "Mock",
            "Model": "One",
            "UUID": "c0ffee00-0000-4000-8000-000000000001",
            "PowerState": self.power,
            "Boot": self.boot,
            "Links": {"ManagedBy": [ref(MANAGER)]},
            "Actions": {
                "#ComputerSystem.Reset": {
                    "target": RESET,
                    "ResetType@Redfish.AllowableValues": self.resets,
                }
            },
        }
        if self.media_under == SYSTEM:
            system["VirtualMedia"] = ref(f"{SYSTEM}/VirtualMedia")
        return system

    def _drive(self, path: str) -> dict[str, Any]:
        return {
            "MediaTypes": ["CD", "DVD"],
            "Inserted": self.image is not None,
            "Image": self.image,
            "Actions": {
                "#VirtualMedia.InsertMedia": {"target": f"{path}/Actions/Insert"},
                "#VirtualMedia.EjectMedia": {"target": f"{path}/Actions/Eject"},
            },
        }


def ref(path: str) -> dict[str, str]:
    return {"@odata.id": path}


def refuse(status: int, words: str) -> Answer:
    return web.json_response(
        {"error": {"code": "Base.1.0.GeneralError", "message": words}}, status=status
    )
