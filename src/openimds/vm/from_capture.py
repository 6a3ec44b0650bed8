"""A VM from a captured body of `/metadata/instance`, of any api-version, values untouched."""

from collections.abc import Mapping

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.facts.clouds import CLOUDS, PUBLIC
from openimds.parameters import describe
from openimds.vm.fleet_file import build
from openimds.vm.schema import vm_tree
from openimds.vm.schema_tree import newest_tree
from openimds.vm.tags import settle
from openimds.vm.types import Vm
from openimds.vm.validate import Leniency, read


class Capture(Struct, frozen=True):
    """The VM of a captured body, and the paths of the body that no row knows."""

    vm: Vm
    set_aside: tuple[str, ...]


def capture(body: object, name: str, beside: Mapping[str, object] | None = None) -> Capture:
    """Return the VM whose document `body` is; `name` is used if the body has no `compute.name`.

    A body without `compute` is one of a classic VM (imds-wire A.2). Fields that the captured
    version did not have get their defaults. `beside` has what was captured of the VM elsewhere, as
    a fleet file says it, such as `loadBalancer`.

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
    settled = {
        key: settle(value, key, lenient) if str(key).lower() == "compute" else value
        for key, value in body.items()
    }
    document = read(settled, newest_tree(), "", lenient)
    assert isinstance(document, dict)
    compute = document.get("compute", {})
    known = vm_tree().members
    more = {key: read(one, known[key], key, lenient) for key, one in (beside or {}).items()}
    vm = build(
        compute.get("name") or name,
        _cloud(compute.get("azEnvironment", "")),
        document,
        {**more, "classic": "compute" not in document},
    )
    return Capture(vm, tuple(lenient.set_aside))


def _cloud(said: str) -> str:
    for name in CLOUDS:
        if name.lower() == said.lower():
            return name
    return PUBLIC
