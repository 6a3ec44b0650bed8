from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from openimds.credentials.keys.files import KeyFileError, new_key, write_file, write_key
from openimds.credentials.pki.authority import CertificateAuthority, Part
from openimds.credentials.pki.certificates import file_name
from openimds.credentials.pki.chain_files import ExternalCa, read_issuer
from tests.unit.credentials.pki.trust import (
    DAY_S,
    NOW_S,
    PUBLIC,
    URL,
    certificates,
    common_names,
    run,
    verify,
)

NAMES = ("root.key", "root.pem", "intermediate.key", "intermediate.pem")


@pytest.fixture(scope="module")
def keys() -> list[RSAPrivateKey]:
    return [new_key() for _ in range(12)]


@pytest.fixture(autouse=True)
def _made_before(keys: list[RSAPrivateKey], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand out keys that were made before: a test has up to twelve, all different."""
    fresh = iter(keys)
    monkeypatch.setattr("openimds.credentials.pki.chain_files.new_key", lambda: next(fresh))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "attest"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return the folder of an operator's root and intermediate, made by openssl."""
    made = tmp_path / "own"
    made.mkdir(mode=0o700)
    request = ["req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "3650", "-sha256"]
    ca = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    run(
        *request, "-subj", "/O=Corp/CN=Corp Root", *ca, "-keyout", "r.key", "-out", "r.pem", at=made
    )
    above = ["-CA", "r.pem", "-CAkey", "r.key", "-addext", "basicConstraints=critical,CA:TRUE"]
    name = ["-subj", "/O=Corp/CN=Corp Lab", "-keyout", "intermediate.key", "-out", "i.pem"]
    run(*request, *name, *ca, *above, at=made)
    (made / "intermediate.key").chmod(0o600)
    together = (made / "i.pem").read_bytes() + (made / "r.pem").read_bytes()
    (made / "intermediate.pem").write_bytes(together)
    return made


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What is kept in a folder.


def test_the_first_use_writes_four_files_of_their_owner_alone(folder: Path) -> None:
    CertificateAuthority.open(folder, NOW_S)
    assert files(folder) == sorted(NAMES)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_second_start_has_the_same_authority(folder: Path, tmp_path: Path) -> None:
    before = CertificateAuthority.open(folder, NOW_S)
    leaf = before.leaf(*PUBLIC, NOW_S).certificate
    after = CertificateAuthority.open(folder, NOW_S + DAY_S)
    assert after.bundle() == before.bundle()
    assert "OK" in verify(leaf, after.bundle(), tmp_path)


@pytest.mark.parametrize("name", ["root", "intermediate"])
def test_a_key_without_certificate_is_a_first_start_that_was_cut_short(
    folder: Path, tmp_path: Path, name: str
) -> None:
    CertificateAuthority.open(folder, NOW_S)
    key = (folder / f"{name}.key").read_bytes()
    (folder / "intermediate.pem").unlink()
    (folder / f"{name}.pem").unlink(missing_ok=True)
    authority = CertificateAuthority.open(folder, NOW_S)
    assert (folder / f"{name}.key").read_bytes() == key
    assert "OK" in verify(authority.leaf(*PUBLIC, NOW_S).certificate, authority.bundle(), tmp_path)


@pytest.mark.parametrize("name", ["root.pem", "intermediate.pem"])
def test_a_certificate_for_another_key_is_refused(folder: Path, name: str) -> None:
    CertificateAuthority.open(folder, NOW_S)
    write_key((folder / name).with_suffix(".key"), new_key())
    with pytest.raises(KeyFileError, match=rf"{name}: .* another key than .*\.key holds\. Put"):
        CertificateAuthority.open(folder, NOW_S)


def test_an_intermediate_of_another_root_is_refused(folder: Path, tmp_path: Path) -> None:
    CertificateAuthority.open(folder, NOW_S)
    CertificateAuthority.open(tmp_path / "other", NOW_S)
    for name in ("root.key", "root.pem"):
        (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(KeyFileError, match=r"intermediate\.pem: root\.pem beside it did not issue"):
        CertificateAuthority.open(folder, NOW_S)


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
@pytest.mark.parametrize("name", ["root.pem", "intermediate.pem"])
def test_a_broken_certificate_is_refused(folder: Path, name: str, text: str) -> None:
    CertificateAuthority.open(folder, NOW_S)
    (folder / name).write_text(text)
    with pytest.raises(KeyFileError, match=rf"{name}: saw .*, expected certificates in PEM"):
        CertificateAuthority.open(folder, NOW_S)


def test_a_certificate_that_cannot_be_read_is_refused(folder: Path) -> None:
    (folder / "root.pem").mkdir(parents=True)
    with pytest.raises(KeyFileError, match=r"root\.pem: is a directory"):
        CertificateAuthority.open(folder, NOW_S)


def test_a_leafs_certificate_is_no_intermediate(folder: Path) -> None:
    leaf = CertificateAuthority.open(folder, NOW_S).leaf(*PUBLIC, NOW_S)
    write_key(folder / "intermediate.key", leaf.key)
    write_file(folder / "intermediate.pem", leaf.certificate.public_bytes(Encoding.PEM))
    with pytest.raises(KeyFileError, match=r"first certificate is not that of an authority"):
        CertificateAuthority.open(folder, NOW_S)


def scribble(path: Path) -> None:
    path.write_text("scribble")


def lend(path: Path) -> None:
    path.chmod(0o644)


HARM = [
    ("root.key", scribble),
    ("root.key", lend),
    ("root.pem", scribble),
    ("intermediate.key", scribble),
    ("intermediate.key", lend),
    ("intermediate.key", Path.unlink),
    ("intermediate.pem", scribble),
]


@pytest.mark.parametrize("name, harm", HARM)
def test_what_is_said_of_a_bad_file_helps(
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


def test_a_bad_file_of_long_ago_is_the_only_one_to_be_removed(folder: Path) -> None:
    authority = CertificateAuthority.open(folder, NOW_S)
    authority.rotate("intermediate", NOW_S)
    (old,) = (folder / "old").iterdir()
    old.write_text("scribble")
    with pytest.raises(KeyFileError, match=rf"or remove it: {old.stem} is not published any more"):
        CertificateAuthority.open(folder, NOW_S)
    old.unlink()
    assert CertificateAuthority.open(folder, NOW_S).chain_pem() == authority.chain_pem()


# Rotation.


@pytest.mark.parametrize("place", ["memory", "folder"])
@pytest.mark.parametrize("part", ["leaf", "intermediate", "root"])
def test_after_a_rotation_old_and_new_documents_are_trusted(
    folder: Path, tmp_path: Path, part: Part, place: str
) -> None:
    authority = CertificateAuthority.open(
        folder if place == "folder" else None, NOW_S, public_url=URL
    )
    before = authority.leaf(*PUBLIC, NOW_S)
    offered = authority.published()
    authority.rotate(part, NOW_S)
    after = authority.leaf(*PUBLIC, NOW_S)
    assert after.key is not before.key
    assert offered.items() <= authority.published().items()
    for leaf in (before, after):
        assert "OK" in verify(leaf.certificate, authority.bundle(), tmp_path)


@pytest.mark.parametrize("part, offered", [("leaf", 2), ("intermediate", 3), ("root", 5)])
def test_a_rotation_replaces_just_its_part(part: Part, offered: int) -> None:
    authority = CertificateAuthority.open(None, NOW_S)
    intermediate, root = certificates(authority.chain_pem())
    authority.rotate(part, NOW_S)
    new_intermediate, new_root = certificates(authority.chain_pem())
    assert (new_root != root) is (part == "root")
    assert (new_intermediate != intermediate) is (part != "leaf")
    assert len(authority.published()) == offered


def test_who_trusts_only_the_old_root_trusts_what_the_new_one_issued(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
    old = authority.root_pem()
    authority.rotate("root", NOW_S)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    assert "OK" in verify(leaf, follow(leaf, authority) + old, tmp_path)
    authority.rotate("intermediate", NOW_S)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    assert "OK" in verify(leaf, follow(leaf, authority) + old, tmp_path)


def test_who_trusts_the_first_root_gets_to_what_the_third_one_issued(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
    old = authority.root_pem()
    authority.rotate("root", NOW_S)
    authority.rotate("root", NOW_S)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    assert "OK" in verify(leaf, follow(leaf, authority, 3) + old, tmp_path)


def follow(leaf: x509.Certificate, authority: CertificateAuthority, steps: int = 2) -> bytes:
    """Return the PEM of what is found where a certificate, and the next, says its issuer's is."""
    offered = {f"{URL}/pki/{name}.crt": der for name, der in authority.published().items()}
    found, current = b"", leaf
    for _ in range(steps):
        said = current.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        current = x509.load_der_x509_certificate(offered[next(iter(said)).access_location.value])
        found += current.public_bytes(Encoding.PEM)
    return found


def test_what_was_rotated_out_outlives_a_restart(folder: Path) -> None:
    authority = CertificateAuthority.open(folder, NOW_S)
    authority.rotate("intermediate", NOW_S)
    authority.rotate("root", NOW_S)
    again = CertificateAuthority.open(folder, NOW_S)
    assert again.published() == authority.published()
    assert again.root_pem() == authority.root_pem()
    assert common_names(again.chain_pem())[0] == "OpenIMDS TLS Issuing CA 03"
    assert sorted(common_names(again.bundle())) == sorted(common_names(authority.bundle()))


def test_the_keys_that_were_rotated_out_are_gone(folder: Path) -> None:
    authority = CertificateAuthority.open(folder, NOW_S)
    authority.rotate("root", NOW_S)
    assert {path.suffix for path in (folder / "old").iterdir()} == {".pem"}
    assert files(folder) == sorted([*NAMES, "old"])
    assert b"PRIVATE" not in b"".join(path.read_bytes() for path in (folder / "old").iterdir())


@pytest.mark.parametrize("part", ["intermediate", "root"])
@pytest.mark.parametrize("writes", range(1, 8))
def test_a_rotation_that_is_cut_short_is_carried_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: Part, writes: int
) -> None:
    authority = CertificateAuthority.open(folder, NOW_S)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    left = iter(range(writes))

    def write(path: Path, text: bytes) -> None:
        if next(left, None) is None:
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
    for one in (leaf, again.leaf(*PUBLIC, NOW_S).certificate):
        assert "OK" in verify(one, again.bundle(), tmp_path)


# An operator's own authority.


def test_an_operators_intermediate_in_the_folder_is_used_and_no_root_is_made(
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
    with pytest.raises(KeyFileError, match=r"root\.key: not there, so no certificate"):
        authority.rotate("intermediate", NOW_S)
    with pytest.raises(KeyFileError, match=r"root\.key: not there, so no certificate"):
        authority.rotate("root", NOW_S)
    authority.rotate("leaf", NOW_S)
    assert authority.leaf(*PUBLIC, NOW_S).certificate.issuer == leaf.issuer


def test_an_operators_intermediate_may_come_without_what_is_above(own: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    write_file(folder / "intermediate.key", (own / "intermediate.key").read_bytes())
    write_file(folder / "intermediate.pem", (own / "i.pem").read_bytes())
    authority = CertificateAuthority.open(folder, NOW_S)
    assert common_names(authority.bundle()) == ["Corp Lab"]
    assert authority.root_pem() == b""


def test_a_root_whose_key_is_elsewhere_serves_until_it_is_needed(folder: Path) -> None:
    before = CertificateAuthority.open(folder, NOW_S).bundle()
    (folder / "root.key").rename(folder.parent / "safe.key")
    authority = CertificateAuthority.open(folder, NOW_S)
    assert authority.bundle() == before
    with pytest.raises(KeyFileError, match="Put it there for as long as this takes"):
        authority.rotate("intermediate", NOW_S)
    (folder / "intermediate.pem").unlink()
    with pytest.raises(KeyFileError, match=r"root\.key: not there"):
        CertificateAuthority.open(folder, NOW_S)


def test_an_issuer_from_two_other_files_is_used(own: Path, folder: Path) -> None:
    brought = read_issuer(own / "intermediate.pem", own / "intermediate.key")
    authority = CertificateAuthority.open(folder, NOW_S, brought=brought)
    assert common_names(authority.chain_pem()) == ["Corp Lab", "Corp Root"]
    assert not folder.exists()


def test_an_issuer_with_the_wrong_key_is_refused(own: Path) -> None:
    (own / "r.key").chmod(0o600)
    with pytest.raises(KeyFileError, match=r"another key than .*r\.key holds"):
        read_issuer(own / "intermediate.pem", own / "r.key")


def test_a_signer_outside_the_process_can_take_the_place_of_a_key() -> None:
    inside = CertificateAuthority.open(None, NOW_S).stray(NOW_S)
    asked: list[x509.CertificateBuilder] = []

    class Module:
        certificate = inside.certificate

        def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
            asked.append(builder)
            return inside.sign(builder)

    authority = CertificateAuthority.open(None, NOW_S, brought=ExternalCa(Module()))
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    assert len(asked) == 1
    leaf.verify_directly_issued_by(inside.certificate)
    assert authority.published().keys() == {file_name(inside.certificate)}
