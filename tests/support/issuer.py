"""An OpenID Connect issuer of a test's own: keys, a description of itself, and tokens, over HTTP on this machine."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

__all__ = ["AUDIENCE", "Issuer", "Key", "running_issuer"]

AUDIENCE = "encore"


class Key:
    """A key pair of the issuer, by what it signs with."""

    def __init__(self, kid: str, algorithm: str = "RS256", *, bits: int = 2048) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self._bits = bits

    @cached_property
    def private(self) -> Any:
        """The key, made when it is first needed."""
        if self.algorithm[:2] in {"RS", "PS"}:
            return rsa.generate_private_key(public_exponent=65537, key_size=self._bits)
        if self.algorithm == "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        return ec.generate_private_key(ec.SECP256R1())

    @cached_property
    def public(self) -> dict[str, Any]:
        """Its public half, as the issuer tells it."""
        kinds: dict[str, Any] = {"R": RSAAlgorithm, "P": RSAAlgorithm, "E": ECAlgorithm}
        kind = OKPAlgorithm if self.algorithm == "EdDSA" else kinds[self.algorithm[0]]
        return {**kind.to_jwk(self.private.public_key(), as_dict=True), "kid": self.kid, "use": "sig"}


class Issuer:
    """An issuer at `url`: change `keys`, or let it be `broken`; it counts how often it was `asked`."""

    def __init__(self, url: str, *keys: Key) -> None:
        self.url = url
        self.keys = list(keys)
        self.broken = False
        self.asked = 0

    def answer(self, path: str) -> Any:
        """What it answers; None: nothing that can be used."""
        self.asked += 1
        if self.broken:
            return None
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        return {"keys": [key.public for key in self.keys]}

    def token(self, key: Key | None = None, /, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that holds for five minutes; claims that are None are left out."""
        key = key or self.keys[0]
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 300, "roles": ["read"]}
        given = {name: value for name, value in (usual | claims).items() if value is not None}
        headers = {"kid": key.kid, **(header or {})}
        named = {name: value for name, value in headers.items() if value is not None}
        return jwt.encode(given, key.private, algorithm=key.algorithm, headers=named)


@contextmanager
def running_issuer(*keys: Key) -> Iterator[Issuer]:
    """An issuer that answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = issuer.answer(self.path)
            body = b"<html>" if told is None else json.dumps(told).encode()
            self.send_response(503 if told is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}", *keys)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
