"""Signatures by the published texts of their schemes (A1-16). The signer here shares no code with the verifier."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from app.domain.errors import InvalidInput
from app.domain.signatures import (
    Encoding,
    Scheme,
    Verification,
    VerifiedSignature,
    generate_secret,
    parse_secret,
    parse_verification,
    verify_signature,
)

NOW = 1_767_225_600
BODY = '{"a": "é", "b": 1.50}'.encode()
OLD, NEW = generate_secret(b"o" * 32), generate_secret(b"n" * 24)
STANDARD_EXAMPLE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PLAIN = "a secret that the sender chose"


def standard_headers(secret: str, message_id: str = "msg_1", at: object = NOW, body: bytes = BODY) -> dict[str, str]:
    """Return the headers that sign a message by Standard Webhooks."""
    key = base64.b64decode(secret[len("whsec_") :])
    content = message_id.encode() + b"." + str(at).encode() + b"." + body
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": f"v1,{signature}"}


def digest(content: bytes = BODY) -> bytes:
    return hmac.new(PLAIN.encode(), content, hashlib.sha256).digest()


def test_example_of_the_standards_own_libraries_verifies() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    found = verify_signature(Verification(), [STANDARD_EXAMPLE], headers, b'{"test": 2432232314}')
    assert found == VerifiedSignature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330)


def test_message_signed_by_the_standard_is_identified_by_its_id() -> None:
    headers = standard_headers(NEW)
    assert verify_signature(Verification(), [NEW], headers, BODY) == VerifiedSignature("msg_1", NOW)
    svix = {name.replace("webhook", "svix"): value for name, value in headers.items()}
    assert verify_signature(Verification(), [NEW], svix, BODY) == VerifiedSignature("msg_1", NOW)


def test_each_secret_and_each_signature_of_the_list_verifies_during_a_rotation() -> None:
    headers = standard_headers(OLD)
    assert verify_signature(Verification(), [NEW, OLD], headers, BODY)
    listed = {**headers, "webhook-signature": f"v1a,xyz v1,AAAA {headers['webhook-signature']}"}
    assert verify_signature(Verification(), [OLD], listed, BODY)
    assert verify_signature(Verification(), [NEW], listed, BODY) is None


def test_id_with_a_point_does_not_verify() -> None:
    """Points separate the signed parts: the same signature would hold for an id and a time that are cut elsewhere."""
    headers = standard_headers(NEW, "msg.1")
    assert verify_signature(Verification(), [NEW], headers, BODY) is None
    svix = {name.replace("webhook", "svix"): value for name, value in headers.items()}
    assert verify_signature(Verification(), [NEW], svix, BODY) is None


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": f"0{NOW}"},
        {"webhook-timestamp": "１７６７２２５６００"},
        {"webhook-timestamp": "1" * 30},
        {"webhook-timestamp": ""},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,\ud800"},
        {"webhook-signature": standard_headers(OLD)["webhook-signature"]},
        {"webhook-signature": standard_headers(NEW)["webhook-signature"].replace("v1,", "v2,")},
        {"webhook-signature": standard_headers(NEW)["webhook-signature"].removeprefix("v1,")},
    ],
)
def test_changed_header_or_body_does_not_verify(change: dict[str, str]) -> None:
    assert verify_signature(Verification(), [NEW], {**standard_headers(NEW), **change}, BODY) is None
    assert verify_signature(Verification(), [NEW], standard_headers(NEW), BODY + b" ") is None
    # A text that is no secret of the standard must not verify anything, for example as an empty key.
    assert verify_signature(Verification(), ["plain", "whsec_", "whsec_=="], standard_headers("whsec_"), BODY) is None


def test_signature_is_valid_for_five_minutes_before_and_after() -> None:
    found = verify_signature(Verification(), [NEW], standard_headers(NEW), BODY)
    assert found is not None
    assert [found.is_stale(NOW + seconds) for seconds in (-301, -300, 0, 300, 301)] == [True, False, False, False, True]
    assert not VerifiedSignature("x").is_stale(NOW)


@pytest.mark.parametrize(
    ("how", "value"),
    [
        (parse_verification(Scheme.HMAC_SHA256, "X-Hub-Signature-256", None, "sha256="), f"sha256={digest().hex()}"),
        (parse_verification(Scheme.HMAC_SHA256, "X-Hub-Signature-256"), digest().hex().upper()),
        (
            parse_verification(Scheme.HMAC_SHA256, "X-Shopify-Hmac-Sha256", Encoding.BASE64),
            base64.b64encode(digest()).decode(),
        ),
    ],
)
def test_plain_hmac_is_identified_by_its_body(how: Verification, value: str) -> None:
    assert how.header is not None
    assert verify_signature(how, [PLAIN], {how.header: value}, BODY) == VerifiedSignature(
        hashlib.sha256(BODY).hexdigest()
    )
    for headers, body in (({how.header: value}, BODY + b" "), ({how.header: f"x{value}"}, BODY), ({}, BODY)):
        assert verify_signature(how, [PLAIN], headers, body) is None
    assert verify_signature(how, [NEW], {how.header: value}, BODY) is None


def test_timestamped_hmac_covers_its_time() -> None:
    how = parse_verification(Scheme.TIMESTAMPED_HMAC_SHA256)
    good = digest(f"{NOW}.".encode() + BODY).hex()
    assert verify_signature(
        how, [PLAIN], {"stripe-signature": f"t={NOW},v0=1,v1=00,v1={good}"}, BODY
    ) == VerifiedSignature(hashlib.sha256(BODY).hexdigest(), NOW)
    for header in (f"t={NOW + 1},v1={good}", f"v1={good}", f"t={NOW},v0={good}", f"t={NOW}", ""):
        assert verify_signature(how, [PLAIN], {"stripe-signature": header}, BODY) is None


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ((Scheme.STANDARD, "x"), "header"),
        ((Scheme.STANDARD, None, Encoding.HEX), "encoding"),
        ((Scheme.HMAC_SHA256,), "header"),
        ((Scheme.HMAC_SHA256, "not a header"), "header"),
        ((Scheme.HMAC_SHA256, "x", None, "\x00"), "prefix"),
        ((Scheme.TIMESTAMPED_HMAC_SHA256, None, None, "x"), "prefix"),
    ],
)
def test_scheme_needs_its_own_options_and_rejects_others(given: tuple[object, ...], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_verification(*given)  # type: ignore[arg-type]
    assert caught.value.problems[0].field == (path,)


def test_secret_must_be_long_enough_and_in_the_form_of_its_scheme() -> None:
    assert parse_secret(STANDARD_EXAMPLE, Scheme.STANDARD) == STANDARD_EXAMPLE
    assert parse_secret(PLAIN, Scheme.HMAC_SHA256) == PLAIN
    for raw, scheme in (
        (PLAIN, Scheme.STANDARD),
        ("whsec_c2hvcnQ=", Scheme.STANDARD),
        (f"whsec_{base64.b64encode(bytes(65)).decode()}", Scheme.STANDARD),
        ("whsec_*", Scheme.STANDARD),
        ("too short", Scheme.HMAC_SHA256),
        (7, Scheme.HMAC_SHA256),
    ):
        with pytest.raises(InvalidInput):
            parse_secret(raw, scheme)
