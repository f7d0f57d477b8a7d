import socket
import time
from dataclasses import replace

import pytest

from continual_repmode.allen.web import (
    check_address,
    open_url,
    remote_size,
    web_opener,
)
from continual_repmode.errors import UserError


def test_what_is_no_web_address_is_refused():
    for address in (
        *("ftp://host/a", "file:///etc/passwd", "host/a", "https://", "https://h:x/"),
        *("", "https://h/a b", "https://h/a\nb", "http://[::1/"),
    ):
        with pytest.raises(UserError, match="--mirror"):
            check_address("--mirror", address, ("https", "http"))


def test_everything_goes_through_the_proxy(web):
    web.files["http://far.invalid/zo1.tar.gz"] = b"12345"
    opener = web_opener(web.url)

    with open_url(opener, "http://far.invalid/zo1.tar.gz", 5) as response:
        assert response.read() == b"12345"

    assert remote_size(opener, "http://far.invalid/zo1.tar.gz") == 5


def test_the_proxy_of_the_environment_is_used(web, monkeypatch):
    web.files["http://far.invalid/zo1.tar.gz"] = b"12345"
    monkeypatch.setenv("http_proxy", web.url)
    monkeypatch.setenv("no_proxy", "")
    assert remote_size(web_opener(), "http://far.invalid/zo1.tar.gz") == 5


def test_a_proxy_must_be_an_address():
    with pytest.raises(UserError, match="--proxy 'socks5://host:1'"):
        web_opener("socks5://host:1")


def test_a_redirection_is_followed_but_never_out_of_the_web(web):
    web.files["/there"] = b"123"
    web.answers.append(replace(web.usual, status=302, location="/there"))
    with open_url(web_opener(), f"{web.url}/here", 5) as response:
        assert response.read() == b"123"

    web.answers.append(replace(web.usual, status=302, location="ftp://host/a"))
    with pytest.raises(UserError, match="redirects to"):
        open_url(web_opener(), f"{web.url}/here", 5)


def test_a_redirection_from_https_to_http_is_refused():
    from http.client import HTTPMessage
    from io import BytesIO
    from urllib.request import Request

    from continual_repmode.allen.web import _SafeRedirects

    secure, plain = "https://host/a", "http://host/a"
    arguments = (BytesIO(), 302, "Found", HTTPMessage())
    redirects = _SafeRedirects()
    followed = redirects.redirect_request(Request(secure), *arguments, secure + "b")
    assert followed is not None
    assert followed.full_url == "https://host/ab"
    with pytest.raises(UserError, match="must begin with https://"):
        redirects.redirect_request(Request(secure), *arguments, plain)


def test_without_a_network_it_is_said_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(UserError, match=r"127\.0\.0\.1: no connection .*--mirror"):
        remote_size(web_opener(), f"http://127.0.0.1:{port}/dna.tar")
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/dna.tar"
        with pytest.raises(UserError, match="the server went silent"):
            remote_size(web_opener(), url, timeout_s=0.5)
    assert time.monotonic() - began < 10


def test_a_server_that_hides_sizes_tells_none_and_a_missing_file_is_an_error(web):
    web.usual = replace(web.usual, length=None)
    web.files["/a"] = b"123"
    assert remote_size(web_opener(), f"{web.url}/a") is None
    web.usual = replace(web.usual, status=503)
    assert remote_size(web_opener(), f"{web.url}/a") is None
    web.usual = replace(web.usual, status=None, length="right")
    with pytest.raises(UserError, match="404"):
        remote_size(web_opener(), f"{web.url}/b")
