"""Tokens of an OpenID Connect issuer open the API, by their roles; forged, ended and foreign ones do not."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest
from issuer import AUDIENCE, Issuer, Key, running_issuer
from redis import Redis
from serving import NOON, TestClient, fold_events

from data.clock import ManualClock, wall_clock
from data.errors import ConfigurationError, TokenError, UnavailableError
from data.units import MICROS
from features.state.online.states import OnlineStates
from server.api.app import create_app
from server.api.asgi import key_set
from server.api.asgi.callers import Callers
from server.api.asgi.tokens import Tokens
from server.api.feast_ui import ReadOnly
from server.api_keys import make_key
from server.audit_log.changes import open_audit_log
from server.oidc import Oidc, highest_role, parse_roles
from server.process.store import Store
from server.settings import read_settings

ASKED = {"user_id": "ann", "product_id": "coffee"}
RSA, EC, PSS, ED = Key("rsa"), Key("ec", "ES256"), Key("pss", "PS256"), Key("ed", "EdDSA")
SECRET, KEY = make_key("shop")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer(RSA, EC, PSS, ED) as running:
        yield running


@pytest.fixture
def api(home: Path, store: Store, redis_client: "Redis[bytes]", issuer: Issuer) -> Iterator[TestClient]:
    """A running API that takes tokens of the issuer, and one key."""
    fold_events(OnlineStates(redis_client))
    settings = read_settings(
        home=home,
        redis_host=store.host,
        redis_port=store.port,
        api_host="0.0.0.0",
        api_keys=str(KEY),
        oidc_issuer=issuer.url,
        oidc_audience=AUDIENCE,
        oidc_roles="storefront=score, read=read, ops=operate, root=admin",
    )
    with TestClient(create_app(settings, clock=ManualClock(NOON)), client=("127.0.0.1", 50_000)) as client:
        yield client


def bearer(token: str | bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {token if isinstance(token, str) else token.decode()}"}


def test_a_token_opens_what_its_role_opens(api: TestClient, issuer: Issuer) -> None:
    ways = {"storefront": (200, 403, 403, 403), "read": (200, 200, 403, 403), "ops": (200, 200, 422, 403)}
    ways["root"] = (200, 200, 422, 200)
    for role, codes in ways.items():
        with_it = bearer(issuer.token(roles=["other", role], sub=role))
        found = (
            api.post("/predict", json=ASKED, headers=with_it).status_code,
            api.get("/features/ann", headers=with_it).status_code,
            api.post("/models/repeat_purchase/promote", json={"version": ""}, headers=with_it).status_code,
            api.get("/audit-log", headers=with_it).status_code,
        )
        assert found == codes, role
    assert issuer.asked == 2, "its description and its keys, once"
    assert api.get("/features/ann", headers={"X-API-Key": SECRET}).status_code == 200, "keys go on"
    assert api.get("/health", headers=bearer(issuer.token())).json()["last_prediction"]["user_id"] == "ann"


@pytest.mark.parametrize("key", [RSA, EC, PSS, ED], ids=lambda key: key.algorithm)
def test_keys_of_every_kind(api: TestClient, issuer: Issuer, key: Key) -> None:
    assert api.get("/models", headers=bearer(issuer.token(key))).status_code == 200


def _sealed_by_secret(issuer: Issuer, secret: bytes) -> str:
    """A token with HS256 and a secret that is public: PyJWT itself would not make it of a PEM."""

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).decode()

    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    signed = ".".join(part(one).rstrip("=") for one in ({"alg": "HS256", "typ": "JWT", "kid": "rsa"}, claims))
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), sha256)).rstrip('=')}"


def forgeries(issuer: Issuer) -> dict[str, tuple[str, str]]:
    """Tokens that are refused, and what is said of them."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    now = int(time.time())
    head, claims, signature = issuer.token().split(".")
    other_claims = issuer.token(roles=["root"]).split(".")[1]
    pem = RSA.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    usual = jwt.decode(issuer.token(), options={"verify_signature": False})
    none = jwt.encode(usual, "", algorithm="none", headers={"kid": "rsa"})
    return {
        "another's key of that name": (issuer.token(Key("rsa")), "Signature verification failed"),
        "a key that it has not": (issuer.token(Key("new")), "has no key new"),
        "no key named, of several": (issuer.token(header={"kid": None}), "has no key"),
        "a key that is no text": (issuer.token(header={"kid": None}).replace(head, _head({"kid": 3})), "no"),
        "claims changed": (f"{head}.{other_claims}.{signature}", "Signature verification failed"),
        "no signature": (f"{head}.{claims}.", "Signature verification failed"),
        "none": (none, "not signed as its issuer's key rsa signs"),
        "a secret that is the public key": (_sealed_by_secret(issuer, pem), "not signed as its issuer's key rsa signs"),
        "ended": (issuer.token(exp=now - 61), "ended at"),
        "of the future": (issuer.token(nbf=now + 120), "of the future (nbf)"),
        "for another API": (issuer.token(aud="billing"), "Audience doesn't match"),
        "of another issuer": (issuer.token(iss="https://evil.example"), "Invalid issuer"),
        "for ever": (issuer.token(exp=None), 'missing the "exp" claim'),
        "of nobody": (issuer.token(sub=None), 'missing the "sub" claim'),
        "an end that is no time": (issuer.token(exp=1e300), "its exp is no time"),
        "long": (issuer.token(more="x" * 9_000), "may have 8,192 bytes"),
        "no token": ("a.b.c", "not accepted"),
        "a header that is no object": (_head([1]) + ".e30.AAAA", "not accepted"),
    }


def _head(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_what_is_forged_ended_or_foreign_is_refused_in_one_line(api: TestClient, issuer: Issuer) -> None:
    for what, (token, told) in forgeries(issuer).items():
        refused = api.post("/predict", json=ASKED, headers=bearer(token))
        assert refused.status_code == 401, what
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.headers["content-type"] == "application/problem+json"
        detail = refused.json()["detail"]
        assert told in detail, what
        assert "\n" not in detail
        assert token not in detail
        assert api.get("/health/live", headers=bearer(token)).status_code == 200, "open to all"
    nothing = api.get("/models")
    assert (nothing.status_code, "a token of the server's issuer" in nothing.json()["detail"]) == (401, True)


@pytest.mark.parametrize("roles", [["king"], [], None, "king queen", {"a": 1}, [1, 2]])
def test_a_role_that_does_not_exist_opens_nothing(api: TestClient, issuer: Issuer, roles: Any) -> None:
    refused = api.post("/predict", json=ASKED, headers=bearer(issuer.token(roles=roles)))
    assert refused.status_code == 403
    detail = refused.json()["detail"]
    assert "the token of oidc:alice gives it no role here: its claim roles holds" in detail
    assert "this server knows storefront, read, ops, root" in detail


def test_invented_keys_do_not_make_the_server_ask_again_and_again(api: TestClient, issuer: Issuer) -> None:
    assert api.get("/models", headers=bearer(issuer.token())).status_code == 200
    asked = issuer.asked
    for number in range(20):
        forged = issuer.token(Key(f"new-{number}", "ES256"))
        assert api.get("/models", headers=bearer(forged)).status_code == 401
    assert issuer.asked == asked, "it has looked a moment ago"


def test_a_new_key_is_found_and_an_old_one_is_gone(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_set, "_PAUSE_S", 0.0)
    clock = ManualClock(wall_clock())
    tokens = Tokens(oidc_of(issuer), clock)
    old, new = issuer.token(EC), Key("next", "ES256")
    assert tokens.check_now(old.encode()).role == "read"
    issuer.keys = [RSA, new]
    assert tokens.check_now(issuer.token(new).encode()).name == "oidc:alice"
    assert tokens.known(old.encode()) is not None, "for five minutes"
    clock.advance(clock() + 301 * MICROS)
    assert tokens.known(old.encode()) is None
    with pytest.raises(TokenError, match="has no key ec"):
        tokens.check_now(old.encode())


def test_an_issuer_that_is_away_is_said_and_keys_hold_meanwhile(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_set, "_PAUSE_S", 0.0)
    issuer.broken = True
    tokens = Tokens(oidc_of(issuer))

    async def ask_together(*asked: str) -> list[Any]:
        return await asyncio.gather(*(tokens.check(one.encode()) for one in asked), return_exceptions=True)

    found = asyncio.run(ask_together(*[issuer.token()] * 50))
    assert all(isinstance(one, UnavailableError) and "cannot be had" in str(one) for one in found)
    assert issuer.asked == 1, "all wait for one look"
    issuer.broken = False
    assert tokens.check_now(issuer.token().encode()).role == "read"
    issuer.broken = True
    assert tokens.check_now(issuer.token(EC).encode()).role == "read"
    with pytest.raises(TokenError, match="has no key new"):
        tokens.check_now(issuer.token(Key("new")).encode())
    monkeypatch.setattr(key_set, "_STALE_S", 0.0)
    with pytest.raises(UnavailableError):
        tokens.check_now(issuer.token().encode())


def oidc_of(issuer: Issuer, **changed: Any) -> Oidc:
    return Oidc(issuer.url, AUDIENCE, "", "roles", parse_roles(""))._replace(**changed)


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits long")
def test_keys_in_a_file_and_roles_by_a_path(issuer: Issuer, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [RSA.public]}))
    tokens = Tokens(oidc_of(issuer, keys=str(file), claim="realm_access.roles"))
    found = tokens.check_now(issuer.token(header={"kid": None}, realm_access={"roles": ["score", "operate"]}).encode())
    assert (found.role, issuer.asked) == ("operate", 0)
    tokens = Tokens(oidc_of(issuer, keys=str(file), claim="https://shop.example/role"))
    named: dict[str, Any] = {"https://shop.example/role": "read score"}
    assert tokens.check_now(issuer.token(**named).encode()).role == "read"
    weak = Key("weak", bits=1024)
    for keys, told in (
        ({"keys": [weak.public]}, "has less than 2048 bits"),
        ({"keys": [RSA.public | {"alg": "RS512"}]}, "not signed as"),
        ({"keys": [RSA.public | {"use": "enc"}]}, "not signed as"),
        ({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "rsa"}]}, "not signed as"),
        ({"keys": [{"kty": "RSA", "kid": "rsa"}]}, "not accepted"),
    ):
        file.write_text(json.dumps(keys))
        token = issuer.token(weak if "weak" in str(keys) else RSA)
        with pytest.raises(TokenError, match=told):
            Tokens(oidc_of(issuer, keys=str(file))).check_now(token.encode())
    file.write_text("[]")
    with pytest.raises(UnavailableError, match="no set of keys"):
        Tokens(oidc_of(issuer, keys=str(file))).check_now(issuer.token().encode())


def test_a_token_that_was_checked_is_known_until_it_ends(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock(wall_clock())
    tokens = Tokens(oidc_of(issuer), clock)
    token = issuer.token(exp=clock() // MICROS + 10).encode()
    assert tokens.known(token) is None
    checked = tokens.check_now(token)
    monkeypatch.setattr(jwt, "decode", None)  # no signature is computed again
    assert tokens.known(token) is checked
    clock.advance(clock() + 69 * MICROS)
    assert tokens.known(token) is checked, "clocks may differ by a minute"
    clock.advance(clock() + 2 * MICROS)
    assert tokens.known(token) is None


def test_an_operator_by_token_is_in_the_audit_log(api: TestClient, issuer: Issuer, home: Path) -> None:
    path = "/models/repeat_purchase/promote"
    api.post(path, json={"version": "9"}, headers=bearer(issuer.token(roles=["ops"], sub="bob through\nx")))
    [entry] = open_audit_log(read_settings(home=home)).read(10).entries
    assert entry.who == "oidc:bob through\\nx"
    assert entry.through == "POST /models/{target}/promote"


def test_the_feast_ui_and_the_console_take_tokens(issuer: Issuer) -> None:
    async def shows(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    from server.api.asgi.doors import Doors

    callers = Callers((), Tokens(oidc_of(issuer)))
    ui = TestClient(ReadOnly(shows, callers, Doors()), base_url="http://127.0.0.1:8888", client=("127.0.0.1", 1))
    ui_answers = [
        ui.get("/", auth=("anybody", issuer.token())).status_code,
        ui.get("/", auth=("anybody", issuer.token(roles=["score"]))).status_code,
        ui.get("/").status_code,
    ]
    assert ui_answers == [200, 401, 401]
    assert callers.refusal_now(issuer.token().encode(), "read") == ""
    assert "gives it the role score" in callers.refusal_now(issuer.token(roles=["score"]).encode(), "read")
    assert "a token of the server's issuer is needed" in callers.refusal_now(b"", "read")
    assert "Signature" in callers.refusal_now(issuer.token(Key("rsa")).encode(), "read")
    assert Callers(()).refusal_now(b"", "read") == ""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"oidc_issuer": "https://sso.example.org"}, "ENCORE_OIDC_AUDIENCE"),
        ({"oidc_issuer": "http://sso.example.org", "oidc_audience": "x"}, "ENCORE_OIDC_ISSUER.*https://"),
        ({"oidc_keys": "http://sso.example.org/keys"}, "ENCORE_OIDC_KEYS.*https://"),
        ({"oidc_roles": "admins=king"}, "ENCORE_OIDC_ROLES.*admins=king.*score, read, operate, admin"),
        ({"oidc_roles": "admins"}, "ENCORE_OIDC_ROLES"),
        ({"oidc_roles": "a=read,a=admin"}, "given twice"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        read_settings(**given)


def test_with_an_issuer_alone_the_doors_are_closed(tmp_path: Path) -> None:
    settings = read_settings(
        home=tmp_path, oidc_issuer="https://sso.example.org", oidc_audience="x", api_host="0.0.0.0"
    )
    assert settings.asks_who
    create_app(settings)
    assert highest_role(["read", "operate", "king"], parse_roles("")) == "operate"
    assert highest_role(["king"], parse_roles("")) is None
