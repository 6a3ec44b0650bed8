"""The kinds of machines: VMs, and three that get a part of the metadata."""

from msgspec import Struct

from openimds.facts.evidence import Evidence, chosen, client, documented, observed


class VmKind(Struct, frozen=True):
    """One kind of machine.

    `endpoints` are the keys of those that it reaches, empty for all; other paths are 404. With
    `needs_exact_header` the value of the Metadata header is `true` in lower case. `leaf_days` is
    the lifetime of the certificate of its attested document, 0 for that of a VM. `answers_as`
    is the key of the endpoint in whose form IMDS's token path answers, empty for its own.
    """

    key: str
    evidence: Evidence
    endpoints: tuple[str, ...] = ()
    needs_exact_header: bool = False
    leaf_days: int = 0
    answers_as: str = ""


VM, CONTAINER_INSTANCE, AZURE_LOCAL = "vm", "container-instance", "azure-local"
CLOUD_SHELL = "cloud-shell"
KINDS: dict[str, VmKind] = {
    row.key: row
    for row in (
        VmKind(VM, documented("S1", "S2")),
        VmKind(
            CONTAINER_INSTANCE,
            client("S70", note="tokens alone; that other paths are 404 is assumed"),
            endpoints=("token",),
            needs_exact_header=True,
        ),
        VmKind(
            AZURE_LOCAL,
            documented("S69", note="the attested document alone; other paths 404 (assumed)"),
            endpoints=("attested",),
            leaf_days=30,
        ),
        VmKind(
            CLOUD_SHELL,
            observed(
                "S82", note="the envelope at IMDS's path; that other paths are 404 is assumed"
            ),
            endpoints=("token", "cloud_shell"),
            answers_as="cloud_shell",
        ),
    )
}

LOCAL_ADDRESS = "169.254.169.253"
"""The address of a VM of Azure Local, on port 80."""
LOCAL_ADDRESS_EVIDENCE = documented("S69")
REPROVISION_STATES_EVIDENCE = client(
    "S12", note="404 while a VM waits in a pool, then 200 with the XML; its media type is assumed"
)
LONGEST_REPROVISION_DATA = 65536
LONGEST_EVIDENCE = chosen("a bound of this server, far above the size of ovf-env.xml")
