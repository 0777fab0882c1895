#!/usr/bin/env python3
"""Makes tests/vectors/tokens.json. Shares no code with the crate: it follows docs/FORMAT.md.

    python3 tests/vectors/generate.py            writes tokens.json beside this file
    python3 tests/vectors/generate.py --check    fails if tokens.json is not what this program makes

Needs Python 3.9 and `cryptography` 38 or later. Salts and nonces are hashes of labels, so every run makes the same
bytes. keyring.json is read for its keys and never written. Every value is fake.
"""
import base64
import hashlib
import hmac
import json
import re
import sys
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FOLDER = Path(__file__).resolve().parent
WRAPPING_KEY = "T0JUJiYrr2rtJb4vL55pUl7aeghe4cZXIRA71Nh/l7I="
PRIMARY, RETIRED, DESTROYED = "5d01c3a7", "00000001", "dead0000"
VERSION = "019000a1b2c3d4e5"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def read_keyring():
    keyring = json.loads((FOLDER / "keyring.json").read_text())
    header = json.dumps(keyring["header"], separators=(",", ":")).encode()
    nonce = base64.b64decode(keyring["header"]["nonce"])
    cipher = AESGCM(base64.b64decode(WRAPPING_KEY))
    return json.loads(cipher.decrypt(nonce, base64.b64decode(keyring["sealed"]), header))


KEYS = read_keyring()["keys"]
ROOTS = {key["id"]: base64.b64decode(key["material"]) for key in KEYS if key["material"]}


# --- The format ---

def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(value):
    """JSON text as the vault prints it: no white space, members in byte order, only escapes that JSON requires."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def canonical(identifier):
    return identifier.lower() if UUID.fullmatch(identifier) else identifier


def context(namespace, key_id, version, tenant, user):
    parts = [
        b"retell-vault/v1",
        namespace.encode(),
        bytes.fromhex(key_id),
        bytes.fromhex(version),
        b"\x00" if tenant is None else b"\x01" + canonical(tenant).encode(),
        canonical(user).encode(),
        b"\x00",
    ]
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def expand(root, info, length):
    """HKDF-Expand (RFC 5869, section 2.3) with SHA-256."""
    block, output = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.new(root, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
    return output[:length]


def head(key_id, version, field):
    return f"rv1.{key_id}.{version}.{field}."


def seal(owner, field, plaintext, salt, nonce):
    """A token of `field`. `plaintext` is bytes, without its padding."""
    derived = expand(ROOTS[owner["key_id"]], context(**owner) + salt, 64)
    padded = plaintext + b" " * (-len(plaintext) % 64)
    start = head(owner["key_id"], owner["version"], field)
    sealed = AESGCM(derived[:32]).encrypt(nonce, padded, start.encode())
    return start + base64url(salt + derived[32:] + nonce + sealed)


def plain_hash(text):
    return base64url(hashlib.sha256(text.encode()).digest()[:16])


def record_json(secret, plain):
    """The plaintext of a record token. `plain`: name -> value."""
    hashes = {name: plain_hash(compact(value)) for name, value in sorted(plain.items())}
    return json.dumps({"fields": sorted(secret), "plain": hashes}, separators=(",", ":"))


# --- Helpers of the vectors ---

def label(text, length):
    return hashlib.sha256(f"retell-vault test vectors, second edition: {text}".encode()).digest()[:length]


def owner(user="user-1", tenant=None, namespace="retell", key_id=PRIMARY, version=VERSION):
    return {"namespace": namespace, "key_id": key_id, "version": version, "tenant": tenant, "user": user}


def seal_texts(name, who, texts):
    """The tokens of one record, under one salt: field -> token. `texts`: field -> plaintext."""
    salt = label(f"{name}, salt", 32)
    nonces = {field: label(f"{name}, nonce of {field}", 12) for field in texts}
    return salt, nonces, {field: seal(who, field, text.encode(), salt, nonces[field]) for field, text in texts.items()}


def described(name, who):
    return {"name": name, "root_key": ROOTS[who["key_id"]].hex(), **who}


# --- contexts ---

LONG_USER, LONG_TENANT = "u" * 255, "t" * 255
SOME_UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


def make_contexts():
    cases = [
        ("no tenant", owner()),
        ("with a tenant", owner(tenant="tenant-1")),
        ("a tenant that is one space", owner(tenant=" ")),
        ("a tenant that is the digit 0", owner(tenant="0")),
        ("a tenant and a user that are a no-break space", owner(tenant="\u00a0", user="\u00a0")),
        ("a tenant and a user that are the word null", owner(tenant="null", user="null")),
        ("tenant and user exchanged", owner(tenant="user-1", user="tenant-1")),
        ("ids cut at one place", owner(tenant="ab", user="c")),
        ("the same ids cut at another place", owner(tenant="a", user="bc")),
        ("another namespace", owner(namespace="twilio")),
        ("the shortest namespace", owner(namespace="a")),
        ("the longest namespace", owner(namespace="n" + "_0123456789" * 3 + "_abcde")),
        ("another key and the smallest version", owner(key_id=RETIRED, version="0" * 16)),
        ("the largest version", owner(version="f" * 16)),
        ("ids beyond ASCII", owner(tenant="Zürich-株式会社", user="josé-🦀")),
        ("a UUID", owner(tenant=SOME_UUID, user=SOME_UUID)),
        ("the same UUID in upper case", owner(tenant=SOME_UUID.upper(), user=SOME_UUID.upper())),
        ("a UUID without hyphens keeps its case", owner(user=SOME_UUID.upper().replace("-", ""))),
        ("a UUID in braces keeps its case", owner(user="{" + SOME_UUID.upper() + "}")),
        ("ids of 255 bytes", owner(tenant=LONG_TENANT, user=LONG_USER)),
    ]
    return [{"name": name, **who, "context": context(**who).hex()} for name, who in cases]


# --- opens: single tokens ---

API_KEY, WEBHOOK_KEY = "key_test_0000000000000000", "whsec_test_00000000"
WEBHOOK = {
    "events": ["call_started", "call_ended", "call_analyzed", "from_the_future"],
    "webhook_url": "https://example.com/hook/" + "x" * 300,
}


def api_key_text(length):
    """A JSON string of `length` bytes."""
    return '"key_test_' + "x" * (length - 11) + '"'


def make_opens():
    cases = [
        ("no tenant", owner(), "api_key", compact(API_KEY)),
        ("with a tenant", owner(tenant="tenant-1"), "api_key", compact(API_KEY)),
        ("another namespace", owner(namespace="twilio"), "auth_token", compact("twilio_test_00000000")),
        ("another key and the smallest version", owner(key_id=RETIRED, version="0" * 16), "sms_agent_id",
         compact("agent_test_sms")),
        ("the largest version", owner(version="f" * 16), "webhook_key", compact(WEBHOOK_KEY)),
        ("ids beyond ASCII", owner(tenant="Zürich-株式会社", user="josé-🦀"), "webhook_key", compact(WEBHOOK_KEY)),
        ("a UUID", owner(tenant=SOME_UUID, user=SOME_UUID), "api_key", compact(API_KEY)),
        ("a UUID in upper case", owner(tenant=SOME_UUID.upper(), user=SOME_UUID.upper()), "api_key", compact(API_KEY)),
        ("ids of 255 bytes", owner(tenant=LONG_TENANT, user=LONG_USER), "api_key", compact(API_KEY)),
        ("63 bytes of JSON", owner(), "api_key", api_key_text(63)),
        ("64 bytes of JSON, without padding", owner(), "api_key", api_key_text(64)),
        ("65 bytes of JSON", owner(), "api_key", api_key_text(65)),
        ("characters that JSON escapes", owner(), "api_key", compact('key_"\\_test')),
        ("characters beyond ASCII", owner(namespace="twilio"), "friendly_name", compact("株式会社 \u2028\u007f")),
        ("an agent of another role", owner(), "voice_agent_id", compact("agent_test_voice")),
        ("a field of one letter", owner(), "x", compact("test_x")),
        ("a field of 40 characters", owner(), "z" + "_0123456789" * 3 + "_agent", compact("test_z")),
        ("the longest token", owner(), "api_key", api_key_text(190 * 64)),
        ("a phone number", owner(), "phone_number", compact("+14155550100")),
        ("a long object", owner(tenant="tenant-1"), "webhook_config", compact(WEBHOOK)),
        ("a status", owner(), "integration_status", compact("active")),
        ("a plain field that was emptied", owner(), "phone_number", "null"),
    ]
    return [make_open(f"opens, {name}", name, *case) for name, *case in cases]


def make_open(where, name, who, field, text):
    """One token, and `beside` it the rest of a record in which it lies."""
    is_plain = field in ("phone_number", "webhook_config", "integration_status")
    texts = {field: text, **({"api_key": compact(API_KEY)} if is_plain else {})}
    texts["record"] = record_json([name for name in texts if not (is_plain and name == field)],
                                  {field: json.loads(text)} if is_plain else {})
    salt, nonces, tokens = seal_texts(where, who, texts)
    beside = " ".join(token for name, token in tokens.items() if name != field)
    return {**described(name, who), "field": field, "json": text, "salt": salt.hex(), "nonce": nonces[field].hex(),
            "token": tokens[field], "beside": beside}


# --- records ---

SECRETS = {
    "api_key": API_KEY,
    "call_agent_id": "agent_test_call",
    "sms_agent_id": "agent_test_sms",
    "webhook_key": WEBHOOK_KEY,
}
PLAIN = {"integration_status": "active", "phone_number": "+14155550100", "webhook_config": WEBHOOK}


def make_record(name, who, secret, plain_in_tokens=None, plain_in_columns=None, emptied=None):
    """`emptied`: plain fields that the record lists with this value, and whose token holds null."""
    plain_in_tokens, plain_in_columns, emptied = plain_in_tokens or {}, plain_in_columns or {}, emptied or {}
    values = {**secret, **plain_in_tokens, **{field: None for field in emptied}}
    text = record_json(secret, {**plain_in_tokens, **plain_in_columns, **emptied})
    texts = {"record": text, **{field: compact(values[field]) for field in sorted(values)}}
    salt, nonces, tokens = seal_texts(f"records, {name}", who, texts)
    record = {
        **described(name, who),
        "salt": salt.hex(),
        "nonces": {field: nonce.hex() for field, nonce in nonces.items()},
        "values": values,
        "plain_in_columns": plain_in_columns,
        "emptied": emptied,
        "record_json": text,
        "packed": " ".join(tokens.values()),
    }
    return record, tokens


def make_records():
    many = {f"extra_{number:02}": number for number in range(63)}
    twilio = {"account_sid": "twilio_test_sid_0000", "auth_token": "twilio_test_token_0000"}
    cases = [
        ("one secret", owner(), {"api_key": API_KEY}),
        ("without an API key", owner(), {"webhook_key": WEBHOOK_KEY}),
        ("every field, each in a token", owner(tenant="tenant-1"), SECRETS, PLAIN),
        ("every field, the plain ones in columns", owner(), SECRETS, {}, PLAIN),
        ("one plain field in a token, one in a column", owner(user=SOME_UUID.upper()), {"api_key": API_KEY},
         {"phone_number": "+14155550100"}, {"integration_status": "active"}),
        ("a tombstone", owner(version="019000a1b2c3d4e6"), {}),
        ("a tombstone in a tenant", owner(tenant="Zürich-株式会社", user="josé-🦀"), {}),
        ("of namespace twilio", owner(namespace="twilio", tenant="tenant-1"), twilio, {"phone_number": "+14155550111"}),
        ("an older key", owner(key_id=RETIRED), SECRETS),
        ("fields that no process knows yet", owner(),
         {"api_key": API_KEY, "a1": "test_a1", "a_agent_id": "agent_test_a", "aa": "test_aa"}, {"zeta": ["x", 1, None]}),
        ("a plain field that was emptied", owner(), {"api_key": API_KEY}, {}, {}, {"phone_number": "+14155550100"}),
        ("64 names", owner(namespace="twilio"), {"auth_token": "twilio_test_token_0000"}, {}, many),
    ]
    return [make_record(*case)[0] for case in cases]


# --- plain hashes ---

def make_plain_hashes():
    """`column` is the text of the column, `json` the text that is hashed."""
    webhook = '{"webhook_url": "https://example.com/hook", "events": ["call_ended", "from_the_future"]}'
    no_events = '{ "webhook_url" : "https:\\/\\/example.com\\/hook", "events" : [] }'
    escaped = '{"webhook_url": "https://example.com/?\\u0071=1", "events": []}'
    cases = [
        ("phone_number", "+14155550100", compact("+14155550100")),
        ("integration_status", "not_configured", compact("not_configured")),
        ("webhook_config", webhook, compact(json.loads(webhook))),
        ("webhook_config", no_events, compact(json.loads(no_events))),
        ("webhook_config", escaped, compact(json.loads(escaped))),
    ]
    return [{"field": field, "column": column, "json": text, "hash": plain_hash(text)} for field, column, text in cases]


# --- refused: single tokens ---

def with_body(token, change):
    """The token with another body. `change` gets a bytearray and may answer with other bytes."""
    start, text = token.rsplit(".", 1)
    body = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return f"{start}.{base64url(bytes(change(body) or body))}"


def flip(at):
    def change(body):
        body[at] ^= 1
    return change


def make_refused(opens):
    by_name = {vector["name"]: vector for vector in opens}
    good, tenant, odd = by_name["no tenant"], by_name["with a tenant"], by_name["65 bytes of JSON"]
    twilio, longest = by_name["another namespace"], by_name["the longest token"]
    token, cases = good["token"], []

    def add(name, error, text, base=good, **changes):
        who = {member: base[member] for member in ("namespace", "tenant", "user")}
        cases.append({"name": name, "error": error, **{**who, **changes}, "token": text, "beside": base["beside"]})

    add("another user", "Unsealable", token, user="user-2")
    add("a user in another case", "Unsealable", token, user="User-1")
    add("a user with a space after it", "Unsealable", token, user="user-1 ")
    add("a tenant where there is none", "Unsealable", token, tenant="tenant-1")
    add("no tenant where there is one", "Unsealable", tenant["token"], tenant, tenant=None)
    add("another tenant", "Unsealable", tenant["token"], tenant, tenant="tenant-2")
    add("another namespace", "Unsealable", token, namespace="twilio")
    add("the token of another namespace", "Unsealable", twilio["token"], twilio, namespace="retell")
    add("the name of another field", "Unsealable", token.replace(".api_key.", ".webhook_key."))
    add("the name of the record token", "Unsealable", token.replace(".api_key.", ".record."))
    add("another version", "Unsealable", token.replace(VERSION, "019000a1b2c3d4e6"))
    add("the id of another key", "Unsealable", token.replace(PRIMARY, RETIRED))
    add("a key that does not exist", "UnknownKey", token.replace(PRIMARY, "5d01c3a8"))
    add("a key that was destroyed", "UnknownKey", token.replace(PRIMARY, DESTROYED))
    for name, at in (("salt", 0), ("commitment", 32), ("nonce", 64), ("ciphertext", 76), ("tag", -1)):
        add(f"a changed {name}", "Unsealable", with_body(token, flip(at)))
    add("a body that is cut short", "Malformed", token[:-1])
    add("an empty body", "Malformed", token[:token.rindex(".") + 1])
    add("a body without ciphertext", "Malformed", with_body(token, lambda body: body[:76] + body[-16:]))
    add("a body with another block length", "Malformed", with_body(token, lambda body: body + b"\0\0\0"))
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spilled = odd["token"][:-1] + last[last.index(odd["token"][-1]) + 1]
    add("unused bits of the last digit that are not zero", "Malformed", spilled, odd)
    add("base64 with padding", "Malformed", odd["token"] + "==", odd)
    add("the alphabet of plain base64", "Malformed", odd["token"].replace("-", "+").replace("_", "/")
        .replace("api/key", "api_key"), odd)
    add("a space after it", "Malformed", token + " ")
    add("a line feed after it", "Malformed", token + "\n")
    add("a key id in upper case", "Malformed", token.replace(PRIMARY, PRIMARY.upper()))
    add("a version in upper case", "Malformed", token.replace(VERSION, VERSION.upper()))
    add("a key id of 7 digits", "Malformed", token.replace(PRIMARY, PRIMARY[1:]))
    add("a version of 17 digits", "Malformed", token.replace(VERSION, "0" + VERSION))
    add("a field in upper case", "Malformed", token.replace(".api_key.", ".API_KEY."))
    add("a field that starts with a digit", "Malformed", token.replace(".api_key.", ".1api_key."))
    add("a field that starts with an underscore", "Malformed", token.replace(".api_key.", "._api_key."))
    add("a field of 41 characters", "Malformed", token.replace(".api_key.", f".{'z' * 41}."))
    add("an empty field", "Malformed", token.replace(".api_key.", ".."))
    add("a part that is missing", "Malformed", token.replace(f"{PRIMARY}.", ""))
    add("a part too many", "Malformed", token.replace(".api_key.", ".api_key.api_key."))
    add("a longer token than any", "Malformed", with_body(longest["token"], lambda body: body + bytes(64)), longest)
    add("a later format", "UnsupportedFormat", token.replace("rv1", "rv2"))
    return cases


# --- refused records ---

def make_refused_records():
    cases = []
    _, small = make_record("refused, small", owner(), {"api_key": API_KEY})
    _, full = make_record("refused, full", owner(), SECRETS, PLAIN)
    _, earlier = make_record("refused, earlier", owner(version="019000a1b2c3d4e4"), SECRETS, PLAIN)
    _, again = make_record("refused, again", owner(), SECRETS, PLAIN)
    _, other = make_record("refused, other user", owner(user="user-2"), SECRETS, PLAIN)
    _, old_key = make_record("refused, older key", owner(key_id=RETIRED), SECRETS, PLAIN)
    _, grave = make_record("refused, tombstone", owner(), {})
    _, twilio = make_record("refused, twilio", owner(namespace="twilio"), {"auth_token": "twilio_test_token_0000"})

    def add(name, error, tokens, who=owner(), **more):
        packed = tokens if isinstance(tokens, str) else " ".join(tokens)
        who = {member: who[member] for member in ("namespace", "tenant", "user")}
        cases.append({"name": name, "error": error, **who, "needs_columns": False, **more, "packed": packed})

    def without(tokens, *fields):
        return [token for field, token in tokens.items() if field not in fields]

    def renamed(token, before, after):
        return token.replace(before, after, 1)

    packed = " ".join(small.values())
    add("no record token", "Incomplete", without(full, "record"))
    add("no record token, and nothing but a secret field", "Incomplete", without(small, "record"))
    add("two record tokens", "Malformed", [*small.values(), small["record"]])
    add("two record tokens of different sealings", "Malformed", [*full.values(), again["record"]])
    add("a listed secret field without a token", "Incomplete", without(full, "webhook_key"))
    add("the record token alone, and it lists a secret field", "Incomplete", [small["record"]])
    add("a listed plain field without token and column", "Incomplete", without(full, "phone_number"), needs_columns=True)
    add("a secret field that is not listed", "Malformed", [*small.values(), full["webhook_key"]])
    add("a plain field that is not listed", "Malformed", [*small.values(), full["phone_number"]])
    add("a tombstone with the token of a secret field", "Malformed", [grave["record"], small["api_key"]])
    add("a field twice", "Malformed", [*small.values(), small["api_key"]])
    add("a field twice, of different sealings", "Malformed", [*full.values(), again["api_key"]])
    add("an earlier record token", "Malformed", [earlier["record"], *without(full, "record")])
    add("a secret field of an earlier version", "Malformed", [*without(full, "webhook_key"), earlier["webhook_key"]])
    add("a secret field under another key", "Malformed", [*without(full, "webhook_key"), old_key["webhook_key"]])
    add("the record token of another user", "Unsealable", [other["record"], *without(full, "record")])
    add("a secret field of another user", "Unsealable", [*without(full, "webhook_key"), other["webhook_key"]])
    add("the record of another user", "Unsealable", other.values())
    add("the record of another namespace", "Unsealable", twilio.values())
    add("another namespace", "Unsealable", full.values(), owner(namespace="twilio"))
    add("a tenant where there is none", "Unsealable", full.values(), owner(tenant="tenant-1"))
    call, sms = full["call_agent_id"], full["sms_agent_id"]
    add("two fields exchanged", "Unsealable", [
        *without(full, "call_agent_id", "sms_agent_id"),
        renamed(call, ".call_agent_id.", ".sms_agent_id."), renamed(sms, ".sms_agent_id.", ".call_agent_id."),
    ])
    add("a field renamed to the record token", "Unsealable",
        [renamed(small["api_key"], ".api_key.", ".record."), small["api_key"]])
    add("another version on every token", "Unsealable", packed.replace(VERSION, "019000a1b2c3d4e6"))
    add("the id of another key on every token", "Unsealable", packed.replace(PRIMARY, RETIRED))
    add("a key that does not exist on every token", "UnknownKey", packed.replace(PRIMARY, "5d01c3a8"))
    add("a key that was destroyed on every token", "UnknownKey", packed.replace(PRIMARY, DESTROYED))
    add("a changed record token", "Unsealable", [with_body(small["record"], flip(76)), small["api_key"]])
    add("a changed secret field", "Unsealable", [small["record"], with_body(small["api_key"], flip(-1))])
    add("a changed commitment of a secret field", "Unsealable", [small["record"], with_body(small["api_key"], flip(32))])
    add("a changed plain field", "Unsealable", [*without(full, "phone_number"), with_body(full["phone_number"], flip(-1))])
    add("a later format on one token", "UnsupportedFormat", [small["record"], renamed(small["api_key"], "rv1", "rv2")])
    add("a damaged token", "Malformed", [small["record"], small["api_key"][:-1]])
    add("two spaces between tokens", "Malformed", "  ".join(small.values()))
    add("a space after the last token", "Malformed", packed + " ")
    add("a line feed between tokens", "Malformed", "\n".join(small.values()))

    hashed = plain_hash(compact("+14155550100"))
    texts = {
        "fields in another order": ('{"fields":["webhook_key","api_key"],"plain":{}}', ("api_key", "webhook_key")),
        "a secret field listed twice": ('{"fields":["api_key","api_key"],"plain":{}}', ("api_key",)),
        "plain fields in another order": (
            '{"fields":["api_key"],"plain":{"phone_number":"%s","integration_status":"%s"}}' % (hashed, hashed),
            ("api_key", "phone_number", "integration_status")),
        "a plain field listed twice": (
            '{"fields":["api_key"],"plain":{"phone_number":"%s","phone_number":"%s"}}' % (hashed, hashed),
            ("api_key", "phone_number")),
        "a name in both lists": ('{"fields":["api_key"],"plain":{"api_key":"%s"}}' % hashed, ("api_key",)),
        "the record token listed as secret": ('{"fields":["api_key","record"],"plain":{}}', ("api_key",)),
        "the record token listed as plain": ('{"fields":["api_key"],"plain":{"record":"%s"}}' % hashed, ("api_key",)),
        "an unknown member": ('{"fields":["api_key"],"plain":{},"version":2}', ("api_key",)),
        "members in another order": ('{"plain":{},"fields":["api_key"]}', ("api_key",)),
        "a member twice": ('{"fields":["api_key"],"fields":["api_key"],"plain":{}}', ("api_key",)),
        "no plain member": ('{"fields":["api_key"]}', ("api_key",)),
        "no fields member": ('{"plain":{}}', ()),
        "white space": ('{"fields": ["api_key"],"plain":{}}', ("api_key",)),
        "a plain hash of 21 characters": (
            '{"fields":["api_key"],"plain":{"phone_number":"%s"}}' % hashed[:-1], ("api_key", "phone_number")),
        "a plain hash that is a number": (
            '{"fields":["api_key"],"plain":{"phone_number":1}}', ("api_key", "phone_number")),
        "a name that no field can have": ('{"fields":["api_key"],"plain":{"Phone":"%s"}}' % hashed, ("api_key",)),
        "a list": ('["api_key"]', ("api_key",)),
        "null": ("null", ()),
        "no JSON": ("record", ("api_key",)),
        "JSON that is cut short": ('{"fields":["api_key"],"plain":{}', ("api_key",)),
        "65 names": (record_json(["api_key"], {f"extra_{number:02}": number for number in range(64)}), ("api_key",)),
        "65 names of secret fields": (record_json([f"extra_{number:02}" for number in range(65)], {}), ()),
    }
    for name, (text, fields) in texts.items():
        sealed = {"record": text, **{field: compact({**SECRETS, **PLAIN}[field]) for field in fields}}
        tokens = seal_texts(f"refused records, {name}", owner(), sealed)[2]
        add(f"a record token with {name}", "Malformed", tokens.values())
    return cases


# --- The file ---

def make():
    opens = make_opens()
    return {
        "about": "Token format rv1, see docs/FORMAT.md. Made by generate.py. Everything in it is fake.",
        "keyring": "keyring.json",
        "wrapping_key": WRAPPING_KEY,
        "fingerprints": {key["id"]: key["fingerprint"] for key in KEYS},
        "contexts": make_contexts(),
        "opens": opens,
        "records": make_records(),
        "plain_hashes": make_plain_hashes(),
        "refused": make_refused(opens),
        "refused_records": make_refused_records(),
    }


def main():
    text = json.dumps(make(), indent=2, ensure_ascii=False) + "\n"
    path = FOLDER / "tokens.json"
    if sys.argv[1:] == ["--check"]:
        sys.exit(None if path.read_text() == text else "tokens.json is not what generate.py makes")
    path.write_text(text)


main()
