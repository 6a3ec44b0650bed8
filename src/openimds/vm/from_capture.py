"""A VM from a captured body of `/metadata/instance`, of any api-version, values untouched."""

from collections.abc import Mapping

from msgspec import Struct, convert

from openimds.errors import ConfigError
from openimds.facts.clouds import CLOUDS, PUBLIC
from openimds.parameters import describe
from openimds.vm.names import is_name
from openimds.vm.schema import vm_tree
from openimds.vm.schema_tree import newest_tree
from openimds.vm.types import Vm
from openimds.vm.validate import Leniency, validate


class Capture(Struct, frozen=True):
    """The VM of a captured body, and the paths of its unknown members."""

    vm: Vm
    set_aside: tuple[str, ...]


def parse_capture(body: object, name: str, beside: Mapping[str, object] | None = None) -> Capture:
    """Return the VM whose instance document is `body`.

    `name` is the name of a VM whose `compute.name` is missing, or that no new VM can have. A body
    without `compute` belongs to a classic VM (imds-wire A.2). Fields that are missing from the
    captured version get their defaults.
    `beside` has parts captured elsewhere, by their key in a fleet file, such as `loadBalancer`.

    Raises:
        ConfigError: the body is no instance document.
    """
    if not isinstance(body, dict) or not {"compute", "network"} & {
        str(key).lower() for key in body
    }:
        raise ConfigError(
            "top level", describe(body), "the body of /metadata/instance, with compute and network"
        )
    lenient = Leniency([])
    document = validate(body, newest_tree(), "", lenient)
    keys = vm_tree().members
    parts = {key: validate(part, keys[key], key, lenient) for key, part in (beside or {}).items()}
    compute = document.get("compute", {})
    clouds = {cloud.lower(): cloud for cloud in CLOUDS}
    identity = {
        "name": compute["name"] if is_name(compute.get("name")) else name,
        "cloud": clouds.get(compute.get("azEnvironment", "").lower(), PUBLIC),
        "classic": "compute" not in document,
    }
    vm = convert({**parts, **identity, "document": document}, Vm)
    return Capture(vm, tuple(lenient.set_aside))
