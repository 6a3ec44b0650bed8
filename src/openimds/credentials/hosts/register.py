"""The register of hosts: a value that its caller stores under one key.

A host's certificate counts while its serial number stands here; all others are refused. A register
that was restored from a backup thus refuses certificates issued after it: invite these hosts again.
Of a join token only the hash of its secret is stored.
"""

import hmac
from datetime import UTC, datetime
from difflib import get_close_matches
from hashlib import sha256
from typing import Literal

import msgspec.json
from msgspec import Struct
from msgspec.structs import replace

from openimds.credentials.hosts.host_certificates import HostCertificate, half_life_s
from openimds.credentials.hosts.join_token import SECRET_BYTES, JoinToken, new_secret
from openimds.errors import ConfigError, Error
from openimds.parameters import describe
from openimds.vm.names import NAME_FORM, is_name

KEY = "hosts"
"""The key under which a store has the register."""
FORM = 1
"""The form of the stored value; a later release may have another."""
MAX_HOSTS = 5_000
MAX_CERTIFICATES = 4
"""The most live certificates of a host: renewals of which no answer arrived add one each."""
MAX_REUSES = 1_000
"""The further uses of a spent token are counted so far."""
JOIN_S = 900
"""The life of a join token in seconds."""
FORGET_S = 86_400
"""A host that never joined is forgotten so many seconds after its token's end."""
EARLY_S = 3600
"""A renewal may come so many seconds before half-life: clocks differ."""
_ADD = "openimds control host add"

HostState = Literal["invited", "joined", "revoked"]


class HostRegisterError(Error):
    """A stored register that cannot be read."""


class LiveCertificate(Struct, frozen=True):
    """The serial number (hexadecimal) and the validity of a host's certificate, in seconds."""

    serial: str
    begins_s: float
    ends_s: float


class Invitation(Struct, frozen=True, omit_defaults=True):
    """A join token: the SHA-256 of its secret, its end, and the first use.

    `key` is the SHA-256 of the public key that used it, empty before. Both are hexadecimal.
    """

    secret: str
    ends_s: float
    key: str = ""
    used_s: float | None = None


class HostEntry(Struct, frozen=True, omit_defaults=True):
    """A host; times in seconds since 1970, None for an event that has not been.

    `reuses` counts the attempts of another key to use a spent join token. `account` is the service
    account whose pod joined; such a host may join again by itself.
    """

    name: str
    state: HostState
    invited_s: float
    joined_s: float | None = None
    revoked_s: float | None = None
    certificates: tuple[LiveCertificate, ...] = ()
    invitation: Invitation | None = None
    reuses: int = 0
    account: str = ""

    def live(self, now_s: float) -> tuple[LiveCertificate, ...]:
        """Return the certificates that have not ended, the newest last."""
        return tuple(one for one in self.certificates if now_s < one.ends_s)


class _Form(Struct, frozen=True):
    form: int


class HostRegister(Struct, frozen=True):
    """The hosts by name. Each operation returns a changed copy, and changes nothing itself.

    With `keeps_revoked` a revoked host is never forgotten: its pod could join again by itself.
    """

    hosts: dict[str, HostEntry] = {}
    form: int = FORM
    keeps_revoked: bool = False

    @classmethod
    def from_bytes(cls, stored: bytes | None) -> "HostRegister":
        """Return the stored register; None is an empty one.

        Raises:
            HostRegisterError: it is damaged, or of a later release.
        """
        if stored is None:
            return cls()
        try:
            form = msgspec.json.decode(stored, type=_Form).form
            if form <= FORM:
                return msgspec.json.decode(stored, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise HostRegisterError(
                f'the value "{KEY}" of the store is damaged ({error}): expected the register of '
                "hosts. Restore the store from a backup"
            ) from None
        raise HostRegisterError(
            f'the value "{KEY}" of the store has the form {form} of a later release; this release '
            f"reads {FORM}. Install the later release"
        )

    def to_bytes(self) -> bytes:
        """Return the register as JSON, for `from_bytes`."""
        return msgspec.json.encode(self)

    def invite(  # noqa: PLR0913 - the facts of an invitation
        self,
        name: str,
        now_s: float,
        fingerprint: str,
        *,
        is_admin: bool,
        has_vms: bool = False,
        secret: bytes | None = None,
    ) -> tuple["HostRegister", str]:
        """Return the register with a new join token for a host, and the token's text.

        A pending token of the same host ends. A host that has joined goes on with its certificates
        until the new one joins.

        Args:
            name: the host's name, which has the form of a VM's.
            now_s: real time in seconds since 1970.
            fingerprint: the SHA-256 of the hosts' root.
            is_admin: whether the operator has the role `admin`; the role `enrol` adds new hosts.
            has_vms: whether VMs are placed on a host of this name.
            secret: the secret, for tests; by default a random one.

        Raises:
            ConfigError: the name does not fit, needs the role `admin`, or there are too many hosts.
        """
        where = f"hosts.{name}"
        if not is_name(name):
            raise ConfigError("hosts", describe(name), NAME_FORM)
        known = self.hosts.get(name)
        has_joined = known is not None and known.joined_s is not None
        invited = known.invitation if known else None
        is_pending = invited is not None and invited.used_s is None and now_s < invited.ends_s
        if not is_admin and (has_vms or has_joined or is_pending):
            seen = "a host that has joined before" if has_joined else "a host with VMs"
            if is_pending and not has_joined:
                seen = "a host whose join token is still valid"
            hint = "A token of the role admin may invite it again"
            raise ConfigError(where, seen, "a new name, for the role enrol", hint)
        register = self if known or len(self.hosts) < MAX_HOSTS else self.prune(now_s)
        if known is None and len(register.hosts) >= MAX_HOSTS:
            seen, fewer = f"{MAX_HOSTS} hosts", f"fewer than {MAX_HOSTS}"
            raise ConfigError(where, seen, fewer, self._place_hint())
        token = JoinToken(name, secret or new_secret(), fingerprint)
        invitation = Invitation(_digest(token.secret), now_s + JOIN_S)
        entry = known or HostEntry(name, "invited", now_s)
        entry = replace(entry, invited_s=now_s, invitation=invitation)
        return _put(register, entry), token.text()

    def refusal(self, name: str, secret: bytes, now_s: float) -> str:
        """Return the reason why a secret lets no host join, or "".

        A caller without the right secret gets the same sentence in every case.
        """
        entry = self.hosts.get(name)
        invitation = entry.invitation if entry else None
        # A caller is free to send as much as a frame takes: only a secret's length is hashed.
        digest = _digest(secret) if len(secret) == SECRET_BYTES else ""
        if invitation is None or not hmac.compare_digest(invitation.secret, digest):
            return (
                "this join token lets no host join: it was replaced by a later one, or is for "
                f"another name or another control. Make a new one: {_ADD} NAME"
            )
        if now_s >= invitation.ends_s:
            ended = moment(invitation.ends_s)
            return (
                f'the join token of host "{name}" ended at {ended}. Make a new one: {_ADD} {name}'
            )
        return ""

    def spend(
        self, name: str, secret: bytes, key: bytes, now_s: float
    ) -> tuple["HostRegister", str]:
        """Use a join token for a public key (DER); return register and refusal.

        The refusal is empty where the token fits. The same key may come again until the token ends,
        as an answer may be lost. Another one is refused and counted: the register is to be stored
        if it differs from this one.
        """
        if refusal := self.refusal(name, secret, now_s):
            return self, refusal
        entry = self.hosts[name]
        invitation = entry.invitation
        assert invitation is not None
        used = _digest(key)
        if invitation.used_s is None:
            spent = replace(invitation, key=used, used_s=now_s)
            return _put(self, replace(entry, invitation=spent)), ""
        if hmac.compare_digest(invitation.key, used):
            return self, ""
        refusal = (
            f'the join token of host "{name}" was used at {moment(invitation.used_s)} by another '
            f"machine. If that was not yours, type openimds control host revoke {name}; then make "
            f"a new token: {_ADD} {name}"
        )
        if entry.reuses >= MAX_REUSES:
            return self, refusal
        return _put(self, replace(entry, reuses=entry.reuses + 1)), refusal

    def join(self, name: str, certificate: HostCertificate, now_s: float) -> "HostRegister":
        """Return the register with a host that has joined: its former certificates end."""
        entry = replace(
            self.hosts[name],
            state="joined",
            joined_s=now_s,
            revoked_s=None,
            certificates=(_live(certificate),),
            account="",
        )
        return _put(self, entry)

    def admission_refusal(self, name: str, now_s: float) -> str:
        """Return the reason why a vouched host may not join, or an empty string.

        A revoked one waits until an operator invites it again. A host that joins by tokens keeps
        its name, and its pending token: a node of the same name is another machine.
        """
        if not is_name(name):
            return f"a host cannot have the name {describe(name)}, expected {NAME_FORM}"
        entry = self.hosts.get(name)
        if entry is None:
            if len(self.hosts) < MAX_HOSTS or len(self.prune(now_s).hosts) < MAX_HOSTS:
                return ""
            return f"there are {MAX_HOSTS} hosts. {self._place_hint()}"
        if entry.state == "revoked" and entry.invitation is None:
            return _revoked(entry)
        return "" if entry.account else _token_refusal(entry, now_s)

    def admit(
        self, name: str, account: str, certificate: HostCertificate, now_s: float
    ) -> "HostRegister":
        """Return the register with a host that the API of Kubernetes vouches for.

        Its former certificates end, as in `join`, and so does an invitation.
        """
        known = self.hosts.get(name)
        register = self if known or len(self.hosts) < MAX_HOSTS else self.prune(now_s)
        entry = replace(
            known or HostEntry(name, "invited", now_s),
            state="joined",
            joined_s=now_s,
            revoked_s=None,
            certificates=(_live(certificate),),
            invitation=None,
            account=account,
        )
        return _put(register, entry)

    def renew(
        self, name: str, serial: str, certificate: HostCertificate, now_s: float
    ) -> "HostRegister":
        """Return the register with a further certificate; the presented one stays to its end.

        Of more than `MAX_CERTIFICATES` the oldest other ones end.
        """
        entry = self.hosts[name]
        live = entry.live(now_s)
        presented = [one for one in live if one.serial == serial]
        others = [one for one in live if one.serial != serial]
        most = MAX_CERTIFICATES - 1 - len(presented)
        certificates = (*presented, *others[-most:], _live(certificate))
        return _put(self, replace(entry, certificates=certificates))

    def renewal_refusal(self, name: str, serial: str, now_s: float) -> str:
        """Return the reason why a certificate cannot be renewed, or an empty string."""
        if reason := self.certificate_refusal(name, serial, now_s):
            return reason
        presented = next(one for one in self.hosts[name].certificates if one.serial == serial)
        due_s = half_life_s(presented.begins_s, presented.ends_s)
        if now_s >= due_s - EARLY_S:
            return ""
        return f'the certificate {serial} of host "{name}" is renewed from {moment(due_s)} on'

    def certificate_refusal(self, name: str, serial: str, now_s: float) -> str:
        """Return the reason why a host's certificate is refused, or an empty string."""
        entry = self.hosts.get(name)
        if entry is None or entry.state == "invited":
            return f'host "{name}" has not joined. Make a join token: {_ADD} {name}'
        if entry.state == "revoked":
            return _revoked(entry)
        certificate = next((one for one in entry.certificates if one.serial == serial), None)
        again = f"If it is to go on, let it join again: {_ADD} {name}"
        if certificate is None:
            return f'the certificate {serial} of host "{name}" was replaced. {again}'
        if now_s >= certificate.ends_s:
            ended = moment(certificate.ends_s)
            return f'the certificate {serial} of host "{name}" ended at {ended}. {again}'
        return ""

    def revoke(self, name: str, now_s: float) -> "HostRegister":
        """Return the register with a revoked host: its certificates and its join token end.

        Raises:
            ConfigError: there is no such host.
        """
        entry = self.hosts.get(name)
        if entry is None:
            close = get_close_matches(name, self.hosts, 1)
            hint = f'Did you mean "{close[0]}"?' if close else "Type openimds control host list"
            raise ConfigError("hosts", describe(name), "the name of a host", hint)
        if entry.state == "revoked" and entry.invitation is None:
            return self
        return _put(self, replace(entry, state="revoked", revoked_s=now_s, invitation=None))

    def _place_hint(self) -> str:
        if self.keeps_revoked:
            then = f"then {_ADD}: they are forgotten a day later"
            return f"For those gone, type openimds control host revoke, {then}"
        return "Type openimds control host revoke for those gone"

    def prune(self, now_s: float) -> "HostRegister":
        """Return the register without ended certificates, tokens and hosts.

        A host ends if it was revoked and has no live certificate, and if it never joined until a
        day after its token. One that joins by itself ends with its certificates, but not while it
        is revoked. The register is the same one if nothing has ended.
        """
        hosts = {
            name: _pruned(entry, now_s)
            for name, entry in self.hosts.items()
            if not _is_over(entry, now_s, keeps_revoked=self.keeps_revoked)
        }
        return self if hosts == self.hosts else replace(self, hosts=hosts)


def moment(at_s: float) -> str:
    """Return a time for people."""
    return f"{datetime.fromtimestamp(at_s, UTC):%F %T} UTC"


def _put(register: HostRegister, entry: HostEntry) -> HostRegister:
    return replace(register, hosts={**register.hosts, entry.name: entry})


def _live(certificate: HostCertificate) -> LiveCertificate:
    return LiveCertificate(certificate.serial, certificate.begins_s, certificate.ends_s)


def _pruned(entry: HostEntry, now_s: float) -> HostEntry:
    invitation = entry.invitation
    is_kept = invitation is None or entry.state == "revoked" or now_s < invitation.ends_s + FORGET_S
    return replace(
        entry, certificates=entry.live(now_s), invitation=invitation if is_kept else None
    )


def _is_over(entry: HostEntry, now_s: float, *, keeps_revoked: bool) -> bool:
    if entry.invitation and now_s < entry.invitation.ends_s + FORGET_S:
        return False
    if entry.state == "revoked" and keeps_revoked:
        return entry.invitation is not None  # An operator has lifted it.
    if entry.joined_s is None:
        return True
    return (entry.state == "revoked" or bool(entry.account)) and not entry.live(now_s)


def _revoked(entry: HostEntry) -> str:
    return (
        f'host "{entry.name}" was revoked at {moment(entry.revoked_s or 0)}. If it is to join '
        f"again, type {_ADD} {entry.name}"
    )


def _token_refusal(entry: HostEntry, now_s: float) -> str:
    """Return why a pod may not take a name that an operator gave, or ""."""
    name, invitation = entry.name, entry.invitation
    if entry.state == "joined":
        return (
            f'host "{name}" joined by a join token, and no pod takes its name. If its node is to '
            f"be this host from now on, type openimds control host revoke {name}, then {_ADD} "
            f"{name}: its pod joins once the new join token has ended"
        )
    if invitation and now_s < invitation.ends_s:
        return (
            f'host "{name}" has a join token until {moment(invitation.ends_s)}, which comes first; '
            f"its pod joins once the token has ended. If no pod is to join as this host, type "
            f"openimds control host revoke {name}"
        )
    return ""


def _digest(octets: bytes) -> str:
    return sha256(octets).hexdigest()
