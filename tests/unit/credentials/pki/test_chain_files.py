from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from openimds.credentials.keys.files import KeyFileError, new_key, write_file, write_key
from openimds.credentials.pki.authority import CertificateAuthority, Part
from openimds.credentials.pki.certificate_info import file_name
from openimds.credentials.pki.chain import ExternalCa
from openimds.credentials.pki.issuer_files import read_issuer
from tests.unit.credentials.pki.openssl_verify import (
    DAY_S,
    NOW_S,
    PUBLIC,
    URL,
    certificates,
    common_names,
    run,
    verify,
)

NAMES = tuple(
    f"{part}.{kind}" for part in ("root", "tier", "intermediate") for kind in ("key", "pem")
)


@pytest.fixture(scope="module")
def keys() -> list[RSAPrivateKey]:
    return [new_key() for _ in range(16)]


@pytest.fixture(autouse=True)
def _reused_keys(keys: list[RSAPrivateKey], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reuse generated keys: a test needs up to sixteen, all different."""
    fresh = iter(keys)
    monkeypatch.setattr("openimds.credentials.pki.chain.new_key", lambda: next(fresh))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "attest"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return the folder of an operator's root and intermediate, made by openssl."""
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    request = ["req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "3650", "-sha256"]
    ca = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    run(
        *request,
        "-subj",
        "/O=Corp/CN=Corp Root",
        *ca,
        "-keyout",
        "r.key",
        "-out",
        "r.pem",
        at=folder,
    )
    issuer = ["-CA", "r.pem", "-CAkey", "r.key", "-addext", "basicConstraints=critical,CA:TRUE"]
    name = ["-subj", "/O=Corp/CN=Corp Lab", "-keyout", "intermediate.key", "-out", "i.pem"]
    run(*request, *name, *ca, *issuer, at=folder)
    (folder / "intermediate.key").chmod(0o600)
    together = (folder / "i.pem").read_bytes() + (folder / "r.pem").read_bytes()
    (folder / "intermediate.pem").write_bytes(together)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# The files of the folder.


def test_first_open_writes_six_private_files(folder: Path) -> None:
    CertificateAuthority.open(folder, NOW_S)
    assert files(folder) == sorted(NAMES)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_second_open_has_the_same_ca(folder: Path, tmp_path: Path) -> None:
    before = CertificateAuthority.open(folder, NOW_S)
    leaf = before.leaf(*PUBLIC, NOW_S).certificate
    after = CertificateAuthority.open(folder, NOW_S + DAY_S)
    assert after.bundle() == before.bundle()
    assert "OK" in verify(leaf, after.bundle(), tmp_path)


@pytest.mark.parametrize("name", ["root", "tier", "intermediate"])
def test_key_without_certificate_completes_an_interrupted_start(
    folder: Path, tmp_path: Path, name: str
) -> None:
    CertificateAuthority.open(folder, NOW_S)
    key = (folder / f"{name}.key").read_bytes()
    (folder / "intermediate.pem").unlink()
    (folder / f"{name}.pem").unlink(missing_ok=True)
    authority = CertificateAuthority.open(folder, NOW_S)
    assert (folder / f"{name}.key").read_bytes() == key
    assert "OK" in verify(authority.leaf(*PUBLIC, NOW_S).certificate, authority.bundle(), tmp_path)


@pytest.mark.parametrize("name", ["root.pem", "tier.pem", "intermediate.pem"])
def test_certificate_for_another_key_is_refused(folder: Path, name: str) -> None:
    CertificateAuthority.open(folder, NOW_S)
    write_key((folder / name).with_suffix(".key"), new_key())
    with pytest.raises(KeyFileError, match=rf"{name}: .* another key than .*\.key holds\. Restore"):
        CertificateAuthority.open(folder, NOW_S)


@pytest.mark.parametrize("generation, part", [("2023", "intermediate"), ("2026", "tier")])
def test_intermediate_of_another_root_is_refused(
    folder: Path, tmp_path: Path, generation: str, part: str
) -> None:
    CertificateAuthority.open(folder, NOW_S, generation=generation)
    CertificateAuthority.open(tmp_path / "other", NOW_S)
    for name in ("root.key", "root.pem"):
        (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(KeyFileError, match=rf"{part}\.pem: .*root\.pem beside it did not issue"):
        CertificateAuthority.open(folder, NOW_S)


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
@pytest.mark.parametrize("name", ["root.pem", "intermediate.pem"])
def test_broken_certificate_is_refused(folder: Path, name: str, text: str) -> None:
    CertificateAuthority.open(folder, NOW_S)
    (folder / name).write_text(text)
    with pytest.raises(KeyFileError, match=rf"{name}: saw .*, expected certificates in PEM"):
        CertificateAuthority.open(folder, NOW_S)


def test_unreadable_certificate_is_refused(folder: Path) -> None:
    (folder / "root.pem").mkdir(parents=True)
    with pytest.raises(KeyFileError, match=r"root\.pem: is a directory"):
        CertificateAuthority.open(folder, NOW_S)


def test_leaf_in_place_of_the_intermediate_is_refused(folder: Path) -> None:
    leaf = CertificateAuthority.open(folder, NOW_S).leaf(*PUBLIC, NOW_S)
    write_key(folder / "intermediate.key", leaf.key)
    write_file(folder / "intermediate.pem", leaf.certificate.public_bytes(Encoding.PEM))
    with pytest.raises(KeyFileError, match=r"first certificate is not a CA certificate"):
        CertificateAuthority.open(folder, NOW_S)


def scribble(path: Path) -> None:
    path.write_text("scribble")


def open_to_others(path: Path) -> None:
    path.chmod(0o644)


HARM = [
    ("root.key", scribble),
    ("root.key", open_to_others),
    ("root.pem", scribble),
    ("tier.key", scribble),
    ("tier.pem", scribble),
    ("intermediate.key", scribble),
    ("intermediate.key", open_to_others),
    ("intermediate.key", Path.unlink),
    ("intermediate.pem", scribble),
]


@pytest.mark.parametrize("name, harm", HARM)
def test_message_for_a_bad_file_has_a_working_remedy(
    folder: Path, name: str, harm: Callable[[Path], None]
) -> None:
    before = CertificateAuthority.open(folder, NOW_S).bundle()
    harm(folder / name)
    with pytest.raises(KeyFileError) as caught:
        CertificateAuthority.open(folder, NOW_S)
    assert str(caught.value).startswith(f"{folder / name}: saw ")
    assert f"type mv {folder} {folder}.away: new keys" in str(caught.value)
    folder.rename(f"{folder}.away")
    assert CertificateAuthority.open(folder, NOW_S).bundle() != before


def test_bad_replaced_certificate_may_be_removed_alone(folder: Path) -> None:
    authority = CertificateAuthority.open(folder, NOW_S)
    authority.rotate("intermediate", NOW_S)
    (old,) = (folder / "old").iterdir()
    old.write_text("scribble")
    with pytest.raises(
        KeyFileError, match=rf"or remove it: {old.stem} is then no longer published"
    ):
        CertificateAuthority.open(folder, NOW_S)
    old.unlink()
    assert CertificateAuthority.open(folder, NOW_S).chain_pem() == authority.chain_pem()


# Rotation.


@pytest.mark.parametrize("location", ["memory", "folder"])
@pytest.mark.parametrize("part", ["leaf", "intermediate", "root"])
def test_leaves_verify_before_and_after_a_rotation(
    folder: Path, tmp_path: Path, part: Part, location: str
) -> None:
    authority = CertificateAuthority.open(
        folder if location == "folder" else None, NOW_S, public_url=URL
    )
    before = authority.leaf(*PUBLIC, NOW_S)
    published = authority.published()
    authority.rotate(part, NOW_S)
    after = authority.leaf(*PUBLIC, NOW_S)
    assert after.key is not before.key
    assert published.items() <= authority.published().items()
    for leaf in (before, after):
        assert "OK" in verify(leaf.certificate, authority.bundle(), tmp_path)


@pytest.mark.parametrize("part, published", [("leaf", 3), ("intermediate", 4), ("root", 7)])
def test_rotation_replaces_only_its_part(part: Part, published: int) -> None:
    authority = CertificateAuthority.open(None, NOW_S)
    intermediate, tier, root = certificates(authority.chain_pem())
    authority.rotate(part, NOW_S)
    new_intermediate, new_tier, new_root = certificates(authority.chain_pem())
    assert (new_tier != tier) is (part == "root")
    assert (new_root != root) is (part == "root")
    assert (new_intermediate != intermediate) is (part != "leaf")
    assert len(authority.published()) == published


def test_old_root_verifies_leaves_of_the_new_root(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
    old = authority.root_pem()
    authority.rotate("root", NOW_S)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    assert "OK" in verify(leaf, follow(leaf, authority) + old, tmp_path)
    authority.rotate("intermediate", NOW_S)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    assert "OK" in verify(leaf, follow(leaf, authority) + old, tmp_path)


def test_first_root_verifies_leaves_of_the_third_root(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
    old = authority.root_pem()
    authority.rotate("root", NOW_S)
    authority.rotate("root", NOW_S)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    assert "OK" in verify(leaf, follow(leaf, authority, 4) + old, tmp_path)


def follow(leaf: x509.Certificate, authority: CertificateAuthority, steps: int = 3) -> bytes:
    """Follow the issuer URLs from a leaf, and return the certificates as PEM."""
    published = {
        f"{URL}/pkiops/certs/{name}.crt": der for name, der in authority.published().items()
    }
    fetched, current = b"", leaf
    for _ in range(steps):
        access = current.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        current = x509.load_der_x509_certificate(
            published[next(iter(access)).access_location.value]
        )
        fetched += current.public_bytes(Encoding.PEM)
    return fetched


def test_replaced_certificates_survive_a_restart(folder: Path) -> None:
    authority = CertificateAuthority.open(folder, NOW_S)
    authority.rotate("intermediate", NOW_S)
    authority.rotate("root", NOW_S)
    again = CertificateAuthority.open(folder, NOW_S)
    assert again.published() == authority.published()
    assert again.root_pem() == authority.root_pem()
    assert common_names(again.chain_pem())[0] == "OpenIMDS TLS G2 RSA CA OCSP 03"
    assert sorted(common_names(again.bundle())) == sorted(common_names(authority.bundle()))


def test_replaced_keys_are_not_stored(folder: Path) -> None:
    authority = CertificateAuthority.open(folder, NOW_S)
    authority.rotate("root", NOW_S)
    assert {path.suffix for path in (folder / "old").iterdir()} == {".pem"}
    assert files(folder) == sorted([*NAMES, "old"])
    assert b"PRIVATE" not in b"".join(path.read_bytes() for path in (folder / "old").iterdir())


@pytest.mark.parametrize("part", ["intermediate", "root"])
@pytest.mark.parametrize("writes", range(1, 11))
def test_interrupted_rotation_is_completed_by_the_next_open(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: Part, writes: int
) -> None:
    authority = CertificateAuthority.open(folder, NOW_S)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    allowed = iter(range(writes))

    def write(path: Path, text: bytes) -> None:
        if next(allowed, None) is None:
            raise KeyFileError("no space left on device")
        write_file(path, text)

    monkeypatch.setattr("openimds.credentials.pki.chain_files.write_file", write)
    monkeypatch.setattr("openimds.credentials.keys.files.write_file", write)
    try:
        authority.rotate(part, NOW_S)
    except KeyFileError:
        assert authority.leaf(*PUBLIC, NOW_S).certificate == leaf
    monkeypatch.undo()
    again = CertificateAuthority.open(folder, NOW_S)
    for item in (leaf, again.leaf(*PUBLIC, NOW_S).certificate):
        assert "OK" in verify(item, again.bundle(), tmp_path)


# An operator's CA.


def test_operators_intermediate_is_used_without_a_root(
    own: Path, folder: Path, tmp_path: Path
) -> None:
    folder.mkdir(parents=True)
    for name in ("intermediate.key", "intermediate.pem"):
        write_file(folder / name, (own / name).read_bytes())
    authority = CertificateAuthority.open(folder, NOW_S)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    assert leaf.issuer.rfc4514_string() == "CN=Corp Lab,O=Corp"
    assert files(folder) == ["intermediate.key", "intermediate.pem"]
    assert common_names(authority.bundle()) == ["Corp Root", "Corp Lab"]
    assert common_names(authority.root_pem()) == ["Corp Root"]
    with pytest.raises(KeyFileError, match=r"root\.key: missing, so no certificate"):
        authority.rotate("intermediate", NOW_S)
    with pytest.raises(KeyFileError, match=r"root\.key: missing, so no certificate"):
        authority.rotate("root", NOW_S)
    authority.rotate("leaf", NOW_S)
    assert authority.leaf(*PUBLIC, NOW_S).certificate.issuer == leaf.issuer


def test_operators_intermediate_may_lack_its_root(own: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    write_file(folder / "intermediate.key", (own / "intermediate.key").read_bytes())
    write_file(folder / "intermediate.pem", (own / "i.pem").read_bytes())
    authority = CertificateAuthority.open(folder, NOW_S)
    assert common_names(authority.bundle()) == ["Corp Lab"]
    assert authority.root_pem() == b""


def test_absent_root_key_is_needed_only_by_a_rotation(folder: Path) -> None:
    before = CertificateAuthority.open(folder, NOW_S, generation="2023").bundle()
    (folder / "root.key").rename(folder.parent / "safe.key")
    authority = CertificateAuthority.open(folder, NOW_S)
    assert authority.bundle() == before
    with pytest.raises(KeyFileError, match="Put it there while this runs"):
        authority.rotate("intermediate", NOW_S)
    (folder / "intermediate.pem").unlink()
    with pytest.raises(KeyFileError, match=r"root\.key: missing"):
        CertificateAuthority.open(folder, NOW_S)


def test_external_ca_is_used_without_a_folder(own: Path, folder: Path) -> None:
    external_ca = read_issuer(own / "intermediate.pem", own / "intermediate.key")
    authority = CertificateAuthority.open(folder, NOW_S, external_ca=external_ca)
    assert common_names(authority.chain_pem()) == ["Corp Lab", "Corp Root"]
    assert not folder.exists()


def test_issuer_with_the_wrong_key_is_refused(own: Path) -> None:
    (own / "r.key").chmod(0o600)
    with pytest.raises(KeyFileError, match=r"another key than .*r\.key holds"):
        read_issuer(own / "intermediate.pem", own / "r.key")


def test_issuer_may_be_an_hsm() -> None:
    inside = CertificateAuthority.open(None, NOW_S).orphaned_intermediate(NOW_S)
    builders: list[x509.CertificateBuilder] = []

    class Hsm:
        certificate = inside.certificate

        def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
            builders.append(builder)
            return inside.sign(builder)

        def sign_list(
            self, builder: x509.CertificateRevocationListBuilder
        ) -> x509.CertificateRevocationList:
            return inside.sign_list(builder)

    authority = CertificateAuthority.open(None, NOW_S, external_ca=ExternalCa(Hsm()))
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    assert len(builders) == 1
    leaf.verify_directly_issued_by(inside.certificate)
    assert authority.published().keys() == {file_name(inside.certificate)}
