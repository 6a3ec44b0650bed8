"""The leaves that a host may have: those of its VMs' documents."""

from collections.abc import Iterable, Iterator

from openimds.credentials.pki.certificates import LeafSubject
from openimds.credentials.pki.document_signer import other_domain
from openimds.credentials.pki.host_leaf_register import MAX_PER_HOST
from openimds.credentials.remote.placed_vm import ATTESTED_FAULT, AsksFor, Placement

_WRONG_CLOUD = "wrong-cloud"


class LeafPermits:
    """Finds for each leaf a VM that needs it.

    The last one found is looked at first. So a request of a host with thousands of VMs costs a look
    at a few of them. It may be used from several threads.
    """

    def __init__(self, placement: Placement, asks_for: AsksFor) -> None:
        """Begin without any; `asks_for` tells of faults that are set for a VM."""
        self._placement, self._asks_for = placement, asks_for
        self._found: dict[str, dict[LeafSubject, str]] = {}

    def of(
        self, host: str, names: Iterable[str], subjects: Iterable[LeafSubject]
    ) -> dict[LeafSubject, str]:
        """Return the subjects that a host may have, each with a VM that needs it.

        `names` are those of the VMs on the host.
        """
        asked, before = {*subjects}, self._found.get(host, {})
        wanted = asked
        found: dict[LeafSubject, str] = {}
        for name in _each_once((*before.values(), *names)):
            if not wanted:
                break
            own = wanted.intersection(self._subjects(host, name))
            found |= dict.fromkeys(own, name)
            wanted = wanted - own
        others = [item for item in before.items() if item[0] not in asked]
        self._found[host] = dict([*others, *found.items()][-MAX_PER_HOST:])
        return found

    def _subjects(self, host: str, name: str) -> Iterator[LeafSubject]:
        """Yield the subjects of a VM's documents, the one of a fault included."""
        vm = self._placement(host, name)
        if vm is None or not vm.domain:  # Some clouds have no attested documents.
            return
        yield LeafSubject(vm.domain, vm.region, vm.leaf_days)
        if vm.scenario == _WRONG_CLOUD or self._asks_for(name, ATTESTED_FAULT, _WRONG_CLOUD):
            yield LeafSubject(other_domain(vm.domain), vm.region)


def _each_once(names: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(names)
