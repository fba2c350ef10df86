"""Passkeys: added, used and removed, with a device made of software; and everything that is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2
import pytest
import sqlalchemy as sa
from command_folder import Folder
from console_world import (
    CONSOLE,
    add_passkey_row,
    console_browser,
    console_sites,
    empty_console_tables,
    form_token,
    log_in_to_console,
)
from content_sites import GARDEN, ContentSites
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from databases import fresh_database
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webtest import TestApp

from multisite.console import log_ins, operators, passkeys
from multisite.console.passkeys import RelyingParty, check_passkey, list_passkeys, log_in_options
from multisite.directory.console_tables import challenges_table, log_ins_table, passkeys_table
from multisite.directory.models import AS_MULTISITE
from multisite.sites.operator_log import LogSelection, list_log

ORIGIN = f"http://{CONSOLE}"
PARTY = RelyingParty(CONSOLE, ORIGIN)
PRESENT, VERIFIED, HAS_KEY = 1, 4, 64


@dataclass
class Device:
    """A device that holds one passkey, as the specification of WebAuthn describes it."""

    origin: str = ORIGIN
    rp_id: str = CONSOLE
    flags: int = PRESENT | VERIFIED
    count: int = 0
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential_id: bytes = b"one passkey"
    user_handle: bytes = b""

    def _client_data(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}).encode()

    def _authenticator_data(self, flags: int) -> bytes:
        return sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def create(self, options: dict[str, Any]) -> str:
        """Return what a browser answers to the options of a registration."""
        self.user_handle = base64url_to_bytes(options["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        public = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        known = len(self.credential_id).to_bytes(2, "big") + self.credential_id + cbor2.dumps(public)
        data = self._authenticator_data(self.flags | HAS_KEY) + bytes(16) + known
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client_data("webauthn.create", options["challenge"])
        return self._answer(clientDataJSON=client, attestationObject=attestation)

    def get(self, options: dict[str, Any], kind: str = "webauthn.get") -> str:
        """Return what a browser answers to the options of a log-in."""
        client, data = self._client_data(kind, options["challenge"]), self._authenticator_data(self.flags)
        signature = self.key.sign(data + sha256(client).digest(), ec.ECDSA(SHA256()))
        return self._answer(
            clientDataJSON=client, authenticatorData=data, signature=signature, userHandle=self.user_handle
        )

    def _answer(self, **response: bytes) -> str:
        name = bytes_to_base64url(self.credential_id)
        encoded = {key: bytes_to_base64url(value) for key, value in response.items()}
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": encoded})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        console_sites(url, tmp_path_factory.mktemp("console")) as sites,
    ):
        yield sites


@pytest.fixture
def sites(world: ContentSites) -> ContentSites:
    with world.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        for table in (passkeys_table, challenges_table):
            connection.execute(sa.delete(table))
    empty_console_tables(world)
    return world


def change(sites: ContentSites, statement: Any) -> None:
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(statement)


def options_of(response: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(response.text)
    return found


def register(browser: TestApp, device: Device, status: int = 303, name: str = "My phone") -> Any:
    token = form_token(browser)
    options = options_of(browser.post("/account/passkeys/challenge", {"csrf_token": token}))
    fields = {"csrf_token": token, "credential": device.create(options), "name": name}
    return browser.post("/account/passkeys", fields, status=status)


def log_in(sites: ContentSites, device: Device, status: int = 303, path: str = "/login/passkey") -> Any:
    browser = console_browser(sites)
    options = options_of(browser.post("/login/passkey/challenge"))
    device.count += 1
    return browser.post(path, {"credential": device.get(options), "next": "/jobs"}, status=status), browser


def operator(sites: ContentSites, login: str) -> operators.Operator:
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection:
        found = operators.find_operator(connection, login)
    assert found is not None
    return found


def test_a_passkey_is_added_logs_in_and_is_removed(sites: ContentSites) -> None:
    browser, device = log_in_to_console(sites, "jane", "look"), Device()
    assert "The passkey is added." in register(browser, device).follow().text
    assert "not used yet" in browser.get("/account").text
    response, other = log_in(sites, device)
    assert response.location == f"{ORIGIN}/jobs"
    assert other.get("/jobs").html.h1.text == "Jobs"
    page = browser.get("/account")
    assert "My phone" in page.text
    assert "not used yet" not in page.text
    (passkey,) = list_passkeys(sites.engine, operator(sites, "jane"))
    remove = f"/account/passkeys/{passkey.id}/remove"
    browser.get(remove, status=404)
    browser.post(remove, {"csrf_token": form_token(browser)}, status=303)
    browser.post(remove, {"csrf_token": form_token(browser)}, status=404)
    log_in(sites, device, status=403)
    entries = list_log(sites.engine, LogSelection(who="jane"))
    named = {"operator": "jane", "passkey": "My phone"}
    changes = [(each.what, each.before, each.after) for each in entries if "passkey" in each.what][:2]
    assert changes == [("remove-passkey", named, None), ("add-passkey", None, named)]


def test_a_passkey_takes_the_place_of_password_and_code(sites: ContentSites) -> None:
    browser, device = log_in_to_console(sites, "jane", "everything"), Device()
    register(browser, device)
    change(sites, sa.update(log_ins_table).values(confirmed=0))
    assert browser.get("/operators", status=303).location.startswith(f"{ORIGIN}/confirm")
    options = options_of(browser.post("/login/passkey/challenge"))
    device.count += 1
    fields = {"csrf_token": form_token(browser), "credential": device.get(options), "next": "/operators"}
    assert browser.post("/confirm/passkey", {**fields, "csrf_token": "x"}, status=400)
    assert browser.post("/confirm/passkey", fields, status=303).location == f"{ORIGIN}/operators"
    assert browser.get("/operators").status_code == 200


def test_the_passkey_of_another_operator_confirms_nothing(sites: ContentSites) -> None:
    device = Device()
    register(log_in_to_console(sites, "mary", "everything"), device)
    browser = log_in_to_console(sites, "jane", "everything")
    change(sites, sa.update(log_ins_table).values(confirmed=0))
    options = options_of(browser.post("/login/passkey/challenge"))
    device.count += 1
    fields = {"csrf_token": form_token(browser), "credential": device.get(options), "next": "/operators"}
    page = browser.post("/confirm/passkey", fields, status=403)
    assert "This passkey does not log in here." in page.text
    assert page.html.select_one("#login")["value"] == "jane"
    assert browser.get("/operators", status=303).location.startswith(f"{ORIGIN}/confirm")


def add_device(sites: ContentSites, login: str = "jane") -> Device:
    device = Device()
    register(log_in_to_console(sites, login, "look"), device)
    return device


def nothing(device: Device) -> None:
    """Leave the device as it is."""


@pytest.mark.parametrize(
    ("spoil", "is_good"),
    [
        (nothing, True),
        (lambda device: setattr(device, "origin", f"http://{GARDEN}"), False),
        (lambda device: setattr(device, "origin", f"https://{CONSOLE}"), False),
        (lambda device: setattr(device, "rp_id", GARDEN), False),
        (lambda device: setattr(device, "flags", PRESENT), False),
        (lambda device: setattr(device, "flags", VERIFIED), False),
        (lambda device: setattr(device, "key", ec.generate_private_key(ec.SECP256R1())), False),
        (lambda device: setattr(device, "credential_id", b"another one"), False),
        (lambda device: setattr(device, "user_handle", b"somebody else"), False),
        (lambda device: setattr(device, "count", -1), False),
    ],
    ids=["", "site", "scheme", "host", "unverified", "absent", "key", "unknown", "user", "count"],
)
def test_what_does_not_fit_logs_nobody_in(sites: ContentSites, spoil: Any, is_good: bool) -> None:
    device = add_device(sites)
    log_in(sites, device)
    spoil(device)
    response, browser = log_in(sites, device, status=303 if is_good else 403)
    assert browser.get("/jobs", status=200 if is_good else 403)
    assert ("This passkey does not log in here." in response.text) is not is_good


def test_an_answer_is_good_once_and_for_five_minutes(sites: ContentSites) -> None:
    device = add_device(sites)
    options = json.loads(log_in_options(sites.engine, PARTY))
    device.count += 1
    answer = device.get(options)
    assert check_passkey(sites.engine, answer, PARTY) == operator(sites, "jane")
    device.count += 1
    assert check_passkey(sites.engine, answer, PARTY) is None
    assert check_passkey(sites.engine, device.get(options), PARTY) is None
    options = json.loads(log_in_options(sites.engine, PARTY))
    change(sites, sa.update(challenges_table).values(expires=challenges_table.c.expires - passkeys.CHALLENGE_SECONDS))
    assert check_passkey(sites.engine, device.get(options), PARTY) is None
    log_in_options(sites.engine, PARTY)
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection:
        assert len(list(connection.execute(sa.select(challenges_table)))) == 1


def test_devices_that_do_not_count_are_accepted(sites: ContentSites) -> None:
    device = add_device(sites)
    for _ in range(2):
        device.count = -1
        log_in(sites, device)


@pytest.mark.parametrize("answer", ["", "{}", "[]", "null", "x" * 5_000, '{"id": 5, "rawId": [], "response": "x"}'])
def test_anything_else_is_refused(sites: ContentSites, answer: str) -> None:
    console_browser(sites).post("/login/passkey", {"credential": answer}, status=403)
    browser = log_in_to_console(sites, "jane", "look")
    fields = {"csrf_token": form_token(browser), "credential": answer, "name": "x"}
    assert "the passkey is not valid" in browser.post("/account/passkeys", fields, status=400).text
    assert list_passkeys(sites.engine, operator(sites, "jane")) == []


def test_the_challenge_of_another_operator_or_of_a_log_in_adds_nothing(sites: ContentSites) -> None:
    jane, mary = log_in_to_console(sites, "jane", "look"), log_in_to_console(sites, "mary", "look")
    options = options_of(jane.post("/account/passkeys/challenge", {"csrf_token": form_token(jane)}))
    of_a_log_in = {**options, "challenge": json.loads(log_in_options(sites.engine, PARTY))["challenge"]}
    for browser, given in ((mary, options), (jane, of_a_log_in)):
        fields = {"csrf_token": form_token(browser), "credential": Device().create(given), "name": "x"}
        browser.post("/account/passkeys", fields, status=400)
    # And the challenge of a registration logs nobody in.
    device = Device()
    register(jane, device)
    options = options_of(jane.post("/account/passkeys/challenge", {"csrf_token": form_token(jane)}))
    device.count += 1
    assert check_passkey(sites.engine, device.get(options), PARTY) is None


def test_a_passkey_belongs_to_one_operator_and_there_are_not_too_many(
    sites: ContentSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    jane, mary = log_in_to_console(sites, "jane", "look"), log_in_to_console(sites, "mary", "look")
    register(jane, Device())
    assert "known already" in register(mary, Device(), status=400).text
    monkeypatch.setattr(passkeys, "MAX_PASSKEYS", 1)
    refused = jane.post("/account/passkeys/challenge", {"csrf_token": form_token(jane)}, status=400)
    assert refused.text == "you have as many passkeys as there may be: remove one first"


def test_adding_and_removing_need_the_password_just_now_and_the_token(sites: ContentSites) -> None:
    browser = log_in_to_console(sites, "jane", "look")
    register(browser, Device())
    (passkey,) = list_passkeys(sites.engine, operator(sites, "jane"))
    mary = log_in_to_console(sites, "mary", "everything")
    mary.post(f"/account/passkeys/{passkey.id}/remove", {"csrf_token": form_token(mary)}, status=404)
    paths = ("/account/passkeys/challenge", "/account/passkeys", f"/account/passkeys/{passkey.id}/remove")
    paths += (f"/account/passkeys/{passkey.id}/rename",)
    for path in paths:
        console_browser(sites).post(path, {}, status=403)
        browser.post(path, {"csrf_token": "x"}, status=400)
    change(sites, sa.update(log_ins_table).values(confirmed=0))
    for path in paths:
        assert "/confirm" in browser.post(path, {"csrf_token": form_token(browser)}, status=303).location
    assert len(list_passkeys(sites.engine, operator(sites, "jane"))) == 1


def test_a_passkey_is_renamed_by_its_operator_alone(sites: ContentSites) -> None:
    jane, mary = log_in_to_console(sites, "jane", "look"), log_in_to_console(sites, "mary", "everything")
    number = add_passkey_row(sites.engine, "jane", "Phone")
    path = f"/account/passkeys/{number}/rename"

    def names() -> list[str]:
        return [each.name for each in list_passkeys(sites.engine, operator(sites, "jane"))]

    jane.get(path, status=404)
    mary.post(path, {"csrf_token": form_token(mary), "name": "Mine"}, status=404)
    assert mary.get("/account").html.select_one(f'form[action$="{path}"]') is None
    token = form_token(jane)
    for name in ("", " ", "x" * 101, "a\u202eb"):
        page = jane.post(path, {"csrf_token": token, "name": name}, status=400)
        assert "A name has 1 to 100 characters." in page.text
    assert names() == ["Phone"]
    form = jane.get("/account").html.select_one(f'form[action$="{path}"]')
    assert form.select_one("input[name=name]")["value"] == "Phone"
    jane.post(path, {"csrf_token": token, "name": " Old \n phone "}, status=303)
    assert names() == ["Old phone"]
    (entry,) = list_log(sites.engine, LogSelection(who="jane"), limit=1)
    of_jane = {"operator": "jane"}
    assert (entry.what, entry.before) == ("rename-passkey", {**of_jane, "passkey": "Phone"})
    assert entry.after == {**of_jane, "passkey": "Old phone"}


def test_commands_list_rename_and_remove_a_passkey(sites: ContentSites, tmp_path: Path) -> None:
    folder = Folder(tmp_path, sites.engine.url.render_as_string(hide_password=False))
    operators.add_operator(sites.engine, "jane")
    operators.add_operator(sites.engine, "mary")
    number = add_passkey_row(sites.engine, "jane", "Phone")
    (listed,) = json.loads(folder.invoke("list-passkeys", "jane", "--json").stdout)
    assert listed == {"id": number, "name": "Phone", "created": "2023-11-14T22:13:20+00:00", "used": None}
    assert folder.invoke("list-passkeys", "mary").stdout == ""
    for command in (["rename-passkey", "mary", str(number), "x"], ["remove-passkey", "mary", str(number)]):
        assert f"mary has no passkey {number}; list them" in folder.fails(*command)
    assert "there is no operator 'nobody'" in folder.fails("list-passkeys", "nobody")
    assert "has 1 to 100 printable characters" in folder.fails("rename-passkey", "jane", str(number), "\x07")
    assert folder.invoke("rename-passkey", "JANE", str(number), "Old phone").exit_code == 0
    change(sites, sa.update(passkeys_table).values(used=1_700_100_000))
    line = folder.invoke("list-passkeys", "jane").stdout
    assert line.split(maxsplit=1) == [str(number), f"{'Old phone':30} added 2023-11-14, last used 2023-11-16\n"]
    assert folder.invoke("remove-passkey", "jane", str(number)).stdout == f"Removed passkey {number} of jane.\n"
    assert folder.invoke("list-passkeys", "jane").stdout == ""


def test_challenges_are_limited_and_only_for_forms_of_the_console(
    sites: ContentSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_ins, "ADDRESS_LIMIT", 3)
    browser = console_browser(sites)
    browser.post("/login/passkey/challenge", headers={"Origin": f"http://{GARDEN}"}, status=400)
    browser.get("/login/passkey/challenge", status=404)
    for _ in range(3):
        browser.post("/login/passkey/challenge")
    refused = browser.post("/login/passkey/challenge", status=429)
    assert "Too many attempts" in refused.text


def test_options_do_not_tell_which_operators_there_are(sites: ContentSites) -> None:
    def known() -> dict[str, Any]:
        return {**options_of(console_browser(sites).post("/login/passkey/challenge")), "challenge": None}

    before = known()
    add_device(sites)
    assert known() == before


def test_resetting_or_removing_an_operator_removes_the_passkeys(sites: ContentSites) -> None:
    device = add_device(sites)
    operators.reset_operator(sites.engine, "jane")
    log_in(sites, device, status=403)
    add_device(sites, "mary")
    operators.remove_operator(sites.engine, "mary")
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection:
        assert list(connection.execute(sa.select(passkeys_table))) == []
