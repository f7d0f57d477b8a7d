"""Requests to a web server, with faults sorted into final and passing ones."""

import http.client
import ssl
from collections.abc import Mapping
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from continual_repmode.errors import UserError

_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}
_ABOUT = {
    401: "the server asks for a password",
    403: "the server refuses access to it",
    404: "the server has no such file",
    407: "the proxy asks for a password",
    410: "the server has no such file any more",
}


class BrokenTransferError(Exception):
    """A transfer that failed in a way that another try may mend."""


class NoConnectionError(BrokenTransferError):
    """Nothing was heard of the server."""


class RangeRefusedError(BrokenTransferError):
    """The server has nothing at the byte from which a download should go on."""


def check_address(option: str, address: str, schemes: tuple[str, ...]) -> str:
    """Return an address if requests can be made to it.

    Raises UserError if it is no web address, or its scheme is none of ``schemes``.
    """
    try:
        parts = urlsplit(address)
        sound = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound or not address.isprintable() or " " in address:
        raise UserError(f"{option} {address!r}: not a web address")
    if parts.scheme not in schemes:
        choices = " or ".join(f"{scheme}://" for scheme in schemes)
        raise UserError(f"{option} {address!r}: must begin with {choices}")
    return address


def web_opener(proxy: str | None = None) -> OpenerDirector:
    """Return what makes requests.

    ``proxy``: address of an HTTP proxy for everything; without it, the environment's
        (``https_proxy``, ``http_proxy``, ``no_proxy``).
    """
    if proxy is None:
        proxies = ProxyHandler()
    else:
        proxy = check_address("--proxy", proxy, ("http",))
        proxies = ProxyHandler({"http": proxy, "https": proxy})
    return build_opener(proxies, _SafeRedirects())


class _SafeRedirects(HTTPRedirectHandler):
    """Follow redirections, but never from HTTPS to anything else."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> Request | None:
        schemes = ("https",) if req.type == "https" else ("http", "https")
        check_address(f"{req.full_url} redirects to", newurl, schemes)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_url(
    opener: OpenerDirector,
    url: str,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
) -> http.client.HTTPResponse:
    """Ask for a file and return the response, its body unread.

    Raises BrokenTransferError if there is no connection, or the server has a passing
        trouble.
    Raises UserError if asking again cannot help.
    """
    headers = {
        "User-Agent": "continual-repmode",
        "Accept-Encoding": "identity",
        **(headers or {}),
    }
    request = Request(url, headers=headers, method=method)
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=timeout_s)
    except HTTPError as error:
        error.close()
        raise _status_error(url, error.code, error.reason) from None
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise UserError(
                f"{url}: the server cannot prove who it is "
                f"({error.reason.verify_message}); check the clock of this machine, "
                "its certificates and the proxy"
            ) from None
        raise NoConnectionError(f"no connection ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        raise NoConnectionError(f"no connection ({describe(error)})") from None
    return response


def remote_size(opener: OpenerDirector, url: str, timeout_s: float = 8.0) -> int | None:
    """Return the size of a file in bytes, None if the server does not report it.

    Raises UserError if there is no such file, no access to it, or no connection.
    """
    try:
        with open_url(opener, url, timeout_s, method="HEAD") as response:
            return content_length(response)
    except NoConnectionError as error:
        raise UserError(
            f"{urlsplit(url).hostname}: {error}; check the network, --mirror and "
            "--proxy, and give the same command again"
        ) from None
    except BrokenTransferError:
        return None


def content_length(response: http.client.HTTPResponse) -> int | None:
    """Return how many bytes a response announces, None if it does not."""
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def describe(error: Exception) -> str:
    """Return what went wrong with a connection, in a few words."""
    if isinstance(error, TimeoutError):
        return "the server went silent"
    return str(error) or type(error).__name__


def _status_error(url: str, status: int, reason: str) -> Exception:
    """Return the exception for an HTTP status that is no success."""
    if status == 416:
        return RangeRefusedError("the server cannot go on where it stopped (416)")
    if status in _PASSING_STATUS:
        return BrokenTransferError(f"the server is in trouble ({status} {reason})")
    about = _ABOUT.get(status, f"the server answers {reason!r}")
    return UserError(f"{url}: {about} (HTTP {status}); check --mirror and --proxy")
