"""The application of the public port: what verifiers fetch, faults included.

Its imports are heavy: import it at the first connection.
"""

from collections.abc import Set as AbstractSet
from functools import partial

from openimds.admin.host_rule import PublicHosts
from openimds.admin.public_app import PublicationSource, application
from openimds.admin.public_faults import FaultyPublicApplication
from openimds.credentials.pki.extensions import hosts_in
from openimds.events.clock import Clock
from openimds.faults import FaultInjector
from openimds.server.host_access import HostAccess
from openimds.server.notify import Notify


def public_application(
    host: HostAccess,
    injector: FaultInjector,
    clock: Clock,
    notify: Notify,
    names: AbstractSet[str],
) -> PublicHosts:
    """Return the application, called by one of these names or by those in its certificates."""
    publications = host.publications()
    faulty = FaultyPublicApplication(
        application(publications, notify),
        injector,
        publications,
        host.rehearsed_answers(),
        clock,
        notify,
    )
    return PublicHosts(faulty, frozenset(names), partial(_names_in_certificates, publications))


def _names_in_certificates(publications: PublicationSource) -> frozenset[str]:
    return frozenset(hosts_in(publications.bundle()))
