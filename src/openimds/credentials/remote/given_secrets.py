"""The secrets of a host's VMs, which control gives it with each VM."""

import secrets
from collections import OrderedDict
from collections.abc import Iterable

MAX_SECRETS = 100_000
"""The most VMs whose secrets a host holds; each weighs about 200 octets."""
_SIZE_BYTES = 32


class GivenSecrets:
    """Secrets by VM, in the place of `CallerSecrets`: they are the same on every host."""

    def __init__(self) -> None:
        """Begin without secrets."""
        self._secrets: OrderedDict[str, str] = OrderedDict()
        # No caller can know this one, and so none can answer for a VM without a secret.
        self._unknown = secrets.token_hex(_SIZE_BYTES)

    def __len__(self) -> int:
        """Return the number of VMs with a secret."""
        return len(self._secrets)

    def put(self, vm: str, secret: str) -> None:
        """Take the secret of a VM; beyond the bound, the longest known goes."""
        self._secrets[vm] = secret
        if len(self._secrets) > MAX_SECRETS:
            self._secrets.popitem(last=False)

    def forget(self, vms: Iterable[str]) -> None:
        """Drop the secrets of VMs that have left."""
        for vm in vms:
            self._secrets.pop(vm, None)

    def of(self, vm: str) -> str:
        """Return the secret of a VM; without one, a text that no caller knows."""
        return self._secrets.get(vm) or self._unknown
