"""`openimds kubevirt`: the guests of KubeVirt on this node, as VMs of this node's server."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openimds.cli.client import Client
from openimds.cli.groups import CommandGroup
from openimds.cli.main import options, values
from openimds.errors import ConfigError

if TYPE_CHECKING:
    from openimds.interop.kubevirt import InstanceTemplate

_PATH = "/apis/kubevirt.io/v1/virtualmachineinstances"
_NODE_LABEL = "kubevirt.io/nodeName"
"""KubeVirt sets it with status.nodeName; after a live migration, both at once."""


@click.group("kubevirt", cls=CommandGroup)
def command() -> None:
    """Serve the guests of KubeVirt on this node of a cluster."""


@command.command("follow")
@click.option(
    "--node", required=True, metavar="NAME", envvar="OPENIMDS_NODE", help="The name of this node."
)
@click.option(
    "--template",
    metavar="FILE",
    default="",
    envvar="OPENIMDS_KUBEVIRT_TEMPLATE",
    help="Members of the VMs: defaults, and namespaces by name.",
)
@click.option(
    "--trust-annotations",
    is_flag=True,
    help="Take members of a VM, also identities, from the annotation openimds/vm of its instance.",
)
@click.option(
    "--trust-firmware-uuid",
    is_flag=True,
    help="Take the vmId of a VM from spec.domain.firmware.uuid of its instance.",
)
@click.option(
    "--kubernetes",
    "url",
    metavar="URL",
    default="",
    help="The API of the cluster; by default that of the pod's service account.",
)
@click.option(
    "--kubernetes-ca", "ca_file", metavar="FILE", default="", help="The CA of --kubernetes."
)
@click.option(
    "--kubernetes-token-file",
    "token_file",
    metavar="FILE",
    default="",
    help="The token for --kubernetes.",
)
@click.option(
    "--proc", metavar="FOLDER", default="/proc", show_default=True, help="The /proc of the node."
)
@options("state", "log_format", "log_level")
def kubevirt_follow(  # noqa: PLR0913 - the options of the command
    *,
    node: str,
    template: str,
    trust_annotations: bool,
    trust_firmware_uuid: bool,
    url: str,
    ca_file: str,
    token_file: str,
    proc: str,
    **flags: object,
) -> None:
    """Follow the VirtualMachineInstances of this node.

    Each guest that runs here becomes a VM named NAMESPACE.NAME of the running server, with a
    listener in the network namespace of its pod. The VM is removed when its guest ends or has
    migrated away. VMs that were made otherwise are not touched. While the API of the cluster or the
    server is away, all stays as it is. The command runs until SIGTERM.
    """
    from openimds.cli.kubevirt_follow import KnownObjects, KubevirtFollower
    from openimds.interop.kubernetes import KubernetesApi
    from openimds.interop.kubernetes.list_watch import ListWatch
    from openimds.linux.platform import require_linux
    from openimds.linux.pod_netns import PodNetns
    from openimds.log.events import KUBEVIRT_TROUBLE
    from openimds.server.operator_log import operator_log, starting

    require_linux("openimds kubevirt", "run it on a node of the cluster")
    settings = values(flags)
    members = _template(template)
    for name, value in (("--kubernetes-ca", ca_file), ("--kubernetes-token-file", token_file)):
        if value and not url:
            raise ConfigError(name, "it without --kubernetes", "both")
    api = KubernetesApi(url, ca_file, token_file) if url else KubernetesApi.from_pod()
    namespaces = PodNetns(Path(proc))
    # Without a handler the kernel drops the signal of PID 1, which this is in its container.
    signal.signal(signal.SIGTERM, _end)
    with operator_log(settings) as log:
        log(starting("kubevirt follow", settings, [("node", node), ("template", template)]))
        known = KnownObjects()
        watch = ListWatch(
            api,
            _PATH,
            {"labelSelector": f"{_NODE_LABEL}={node}"},
            known.publish,
            lambda text: log(KUBEVIRT_TROUBLE.message(text, vm="")),
        )
        follower = KubevirtFollower(
            node,
            members,
            lambda: Client(settings.state),
            namespaces,
            log,
            trusts_annotations=trust_annotations,
            trusts_firmware=trust_firmware_uuid,
        )
        log.flush()
        click.echo(f"following the instances on {node}")
        known.fill_by(watch.follow)
        follower.follow(known)


def _end(_number: int, _frame: object) -> None:
    """End the command; the server keeps what is done.

    Raises:
        SystemExit: always, in the main thread.
    """
    raise SystemExit(0)


def _template(path: str) -> "InstanceTemplate":
    """Return the template of a file; without one, an empty template.

    Raises:
        ConfigError: it cannot be read or used.
    """
    from openimds.interop.kubevirt import InstanceTemplate, read_template

    if not path:
        return InstanceTemplate()
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError("--template", f"{path} ({reason})", "a file to read") from None
    return read_template(data, path)
