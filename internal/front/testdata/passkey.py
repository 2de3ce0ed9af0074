#!/usr/bin/env python3
"""An authenticator and its browser, made of python3-fido2's encodings and keys
of python3-cryptography: a user who must bind a device binds a passkey by the
JSON API, and signs in with it, after the password and alone.

usage: passkey.py URL ALGORITHM < {"username": …, "password": …}

prints what happened, as JSON.
"""

import hashlib
import json
import os
import sys
import urllib.error
import urllib.request

import fido2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from fido2.cose import CoseKey
from fido2.utils import websafe_decode, websafe_encode

try:  # 1.0 and later
    from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

    def client_data(kind, challenge, origin):
        return CollectedClientData.create(kind, challenge, origin)

    def attestation(fmt, auth_data, statement):
        return AttestationObject.create(fmt, auth_data, statement)

except ImportError:  # 0.9
    from fido2.client import ClientData
    from fido2.ctap2 import AttestationObject, AttestedCredentialData, AuthenticatorData

    def client_data(kind, challenge, origin):
        return ClientData.build(type=kind, challenge=challenge, origin=origin, crossOrigin=False)

    def attestation(fmt, auth_data, statement):
        return AttestationObject.create(fmt, auth_data, statement).with_string_keys()


AAGUID = bytes.fromhex("f8a011f38c0a4d15800617111f9edc7d")  # of a security key
UP, UV, AT = 0x01, 0x04, 0x40


def generate(algorithm):
    if algorithm == -7:
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == -8:
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm == -257:
        return rsa.generate_private_key(65537, 2048)
    raise ValueError(algorithm)


class Key:
    """A security key that holds one passkey."""

    def __init__(self, algorithm, origin):
        self.algorithm, self.origin = algorithm, origin
        self.private = generate(algorithm)
        self.id, self.count, self.rp, self.user = os.urandom(48), 7, None, None

    def sign(self, data):
        if self.algorithm == -7:
            return self.private.sign(data, ec.ECDSA(hashes.SHA256()))
        if self.algorithm == -257:
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self.private.sign(data)

    def data(self, flags, attested=b""):
        self.count += 1
        return AuthenticatorData.create(hashlib.sha256(self.rp.encode()).digest(), flags, self.count, attested)

    def create(self, options):
        offered = [p["alg"] for p in options["pubKeyCredParams"]]
        assert self.algorithm in offered, offered
        for one in offered:
            assert CoseKey.for_alg(one).ALGORITHM == one, one
        assert options["authenticatorSelection"]["residentKey"] == "required", options
        self.rp, self.user = options["rp"]["id"], websafe_decode(options["user"]["id"])
        assert 16 <= len(self.user) <= 64 and len(websafe_decode(options["challenge"])) >= 16, options
        public = CoseKey.for_alg(self.algorithm).from_cryptography_key(self.private.public_key())
        auth = self.data(UP | UV | AT, AttestedCredentialData.create(AAGUID, self.id, public))
        client = client_data("webauthn.create", options["challenge"], self.origin)
        fmt, statement = "none", {}
        if options.get("attestation", "none") != "none":
            fmt, statement = "packed", {"alg": self.algorithm, "sig": self.sign(auth + client.hash)}
        return self.answer({"attestationObject": websafe_encode(attestation(fmt, auth, statement)), "transports": ["usb"]}, client)

    def get(self, options, flags=UP | UV, wrong=False):
        assert options["rpId"] == self.rp, options
        allowed = [websafe_decode(c["id"]) for c in options.get("allowCredentials") or []]
        assert not allowed or self.id in allowed, options
        auth = self.data(flags)
        client = client_data("webauthn.get", options["challenge"], self.origin)
        signature = self.sign(auth + client.hash)
        if wrong:
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        return self.answer({"authenticatorData": websafe_encode(auth), "signature": websafe_encode(signature), "userHandle": websafe_encode(self.user)}, client)

    def answer(self, response, client):
        response["clientDataJSON"] = websafe_encode(client)
        return {"id": websafe_encode(self.id), "rawId": websafe_encode(self.id), "type": "public-key", "authenticatorAttachment": "cross-platform", "clientExtensionResults": {}, "response": response}


def post(path, **members):
    body = json.dumps(members).encode()
    request = urllib.request.Request(url + "/api/v1/signin" + path, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        return json.load(refusal)


def session(answer):
    assert answer.get("status") == "complete", answer
    request = urllib.request.Request(url + "/api/v1/session", headers={"Authorization": "Bearer " + answer["session"]})
    with urllib.request.urlopen(request, timeout=30) as who:
        return json.load(who)


url, algorithm, who = sys.argv[1], int(sys.argv[2]), json.load(sys.stdin)
key, told = Key(algorithm, url), {"library": fido2.__version__}

first = post("", **who)
assert first.get("status") == "bind" and "passkey" in first["methods"], first
options = post("/bind", ceremony=first["ceremony"], method="passkey")["options"]
made = post("/bind/confirm", ceremony=first["ceremony"], method="passkey", name="Made of Python", credential=key.create(options))
told["bound"] = session(made)

first = post("", **who)
assert first.get("status") == "verify" and first["methods"][0] == "passkey", first
options = post("/passkey/options", ceremony=first["ceremony"])["options"]
assert options["allowCredentials"], options
told["second"] = session(post("/passkey", ceremony=first["ceremony"], method="passkey", credential=key.get(options, flags=UP)))

alone = post("/passkey/options")
assert alone["options"]["userVerification"] == "required", alone
told["wrong"] = post("/passkey", ceremony=alone["ceremony"], credential=key.get(alone["options"], wrong=True)).get("code")
alone = post("/passkey/options")
told["unverified"] = post("/passkey", ceremony=alone["ceremony"], credential=key.get(alone["options"], flags=UP)).get("code")
alone = post("/passkey/options")
told["alone"] = session(post("/passkey", ceremony=alone["ceremony"], credential=key.get(alone["options"])))
told["count"], told["id"] = key.count, websafe_encode(key.id)
print(json.dumps(told))
