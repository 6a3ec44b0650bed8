"""The hosts as the admin API shows and changes them."""

from openimds.admin.metrics import Samples
from openimds.admin.services import HostStanding
from openimds.server.hosts.hosts_metrics import LeaseState, samples_of
from openimds.server.hosts.link import HostsLink
from openimds.server.hosts.port import HostsPort
from openimds.server.hosts.session import HostSession
from openimds.server.hosts.stored_hosts import StoredHosts


class HostsAdministration:
    """Invites, revokes and shows hosts."""

    def __init__(
        self, hosts: StoredHosts, link: HostsLink, port: HostsPort, lease: LeaseState
    ) -> None:
        """Take the register, the placements, the port with its sessions, and control's lease."""
        self._hosts, self._link, self._port, self._lease = hosts, link, port, lease

    async def invite(self, name: str, *, is_admin: bool) -> str:
        """Return a join token for a host.

        Raises:
            ConfigError: the name does not fit, or needs another role.
            StoreError: the store takes no change.
        """
        has_vms = bool(self._link.names_on(name))
        return await self._hosts.invite(name, is_admin=is_admin, has_vms=has_vms)

    async def revoke(self, name: str) -> None:
        """End the certificates, the join token and the connection of a host.

        Raises:
            ConfigError: there is no such host.
            StoreError: the store takes no change.
        """
        await self._hosts.revoke(name)
        self._port.cut_off(name)

    def standings(self) -> list[HostStanding]:
        """Return the standing of every host that is known or has VMs, by name."""
        entries, placed = self._hosts.register.hosts, self._link.hosts()
        return [self._standing(name, placed.get(name, 0)) for name in sorted({*entries, *placed})]

    def lacking(self, vm: str) -> list[str]:
        """Return the hosts of a VM that do not show its newest state."""
        lacking = []
        for host in self._link.hosts_of(vm):
            session = self._port.sessions.get(host)
            if session is None or not session.shows(vm):
                lacking.append(host)
        return lacking

    def samples(self) -> dict[str, Samples]:
        """Return the values of the metrics of hosts by the name of a row."""
        return samples_of(self.standings(), self._link.unplaced_count, self._lease)

    def _standing(self, name: str, vms: int) -> HostStanding:
        entry = self._hosts.register.hosts.get(name)
        session: HostSession | None = self._port.sessions.get(name)
        progress = self._link.progress(name)
        ends_s = [one.ends_s for one in entry.certificates] if entry else []
        return HostStanding(
            name=name,
            state=entry.state if entry else "unknown",
            vms=vms,
            is_connected=session is not None,
            is_settled=session is not None and session.is_settled,
            revision=session.revision if session else None,
            release=session.release if session else "",
            silent_s=progress.silent_s() if entry and entry.state == "joined" else None,
            unshown_vms=session.unshown_vms if session else None,
            unshown_scopes=session.unshown_scopes if session else None,
            unshown_age_s=progress.unshown_age_s(),
            sent_vms=session.sent_vms if session else None,
            refused=session.refused if session else {},
            leaf_failure=session.leaf_failure if session else "",
            join_token_reuses=entry.reuses if entry else 0,
            invited_s=entry.invited_s if entry else None,
            joined_s=entry.joined_s if entry else None,
            certificate_ends_s=max(ends_s, default=None),
        )
