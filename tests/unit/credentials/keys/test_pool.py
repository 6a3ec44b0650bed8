"""Keys shared by servers that start one after another."""

from itertools import combinations

import pytest

from openimds.credentials.keys import files
from openimds.credentials.keys.pool import KeyPool
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.lazy_ca import CaSettings
from openimds.credentials.service import CredentialsService
from openimds.protocol.access_token import TokenSettings

NOW_S = 1_795_377_286.0


def test_servers_get_the_same_keys_in_order_and_none_twice() -> None:
    pool = KeyPool()
    first, second = pool.supply(), pool.supply()
    keys = [first(), first(), second(), second()]
    assert keys[0] is keys[2]
    assert keys[1] is keys[3]
    assert keys[0] is not keys[1]


def test_second_server_generates_no_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = KeyPool()
    first, second = (
        CredentialsService(CaSettings(make_key=pool.supply()), TokenSettings(86400))
        for _ in range(2)
    )
    token, bundle = first.keyring().signer(NOW_S), first.ca.bundle(NOW_S)
    monkeypatch.delattr(files, "new_key")
    assert second.keyring().signer(NOW_S).key is token.key
    other = second.ca.bundle(NOW_S)
    assert other != bundle, "a certificate is made for one server"
    first.close()
    second.close()


def test_root_and_intermediate_keys_differ() -> None:
    authority = CertificateAuthority.open(None, NOW_S, make_key=KeyPool().supply())
    leaf = authority.leaf("metadata.azure.com", "westeurope", NOW_S)
    lineage = authority.chain.lineage()
    keys = [certificate.public_key() for certificate in (*lineage, leaf.certificate)]
    assert len(keys) == 4
    assert all(one != other for one, other in combinations(keys, 2))
