"""The sizes of VMs whose temporary disk is known."""

from msgspec import Struct

from openimds.facts.evidence import Evidence, observed


class VmSize(Struct, frozen=True):
    """One size of VM, with its temporary disk in MiB as `resourceDisk.size` has it."""

    name: str
    temporary_mib: int
    evidence: Evidence


SIZES: dict[str, VmSize] = {
    row.name.lower(): row
    for row in (
        VmSize("Standard_B1ls", 34816, observed("S62", note="the documented size and 30 GiB")),
        VmSize("Standard_B1s", 34816, observed("S62", note="five VMs")),
        VmSize("Standard_B2s", 38912, observed("S62", note="two VMs")),
        VmSize("Standard_B4ms", 63488, observed("S62", note="two VMs")),
        VmSize("Standard_D2ds_v5", 105728, observed("S62")),
        VmSize("Standard_D2s_v3", 16384, observed("S62")),
        VmSize("Standard_D8s_v3", 65536, observed("S25")),
        VmSize("Standard_DS2_v2", 14336, observed("S15", "S62")),
        VmSize("Standard_F2", 32768, observed("S62")),
    )
}
"""By the name in lower case. A size without a row has no temporary disk here."""
