"""The page on KubeVirt: its template, annotation, arguments and rights are those of the code."""

from typing import Any

import click
import yaml

from openimds.cli.kubevirt import _PATH, kubevirt_follow
from openimds.interop.kubevirt import (
    ANNOTATION,
    MARK,
    InstanceTemplate,
    read_instance,
    read_template,
    wanted_vm,
)
from scripts.generate_docs import ROOT
from tests.docs.story import blocks
from tests.support.replayed_cluster import vmi

PAGE = ROOT / "docs" / "use" / "kubevirt.md"


def texts() -> list[str]:
    return [block.text for block in blocks(PAGE) if block.kind == "yaml"]


def block_with(key: str) -> Any:
    (found,) = [value for text in texts() if key in (value := yaml.safe_load(text))]
    return found


def test_template_of_the_page_gives_its_members() -> None:
    (text,) = [text for text in texts() if text.startswith("# kubevirt.yaml")]
    template = read_template(text.encode(), "kubevirt.yaml")
    value = vmi("web-1", "node-1")
    value["metadata"]["namespace"] = "team-a"
    vm = wanted_vm(read_instance(value), template, "cni-1", trusts_annotations=False)
    assert vm.name == "team-a.web-1"
    compute = vm.members["compute"]
    assert compute["resourceGroupName"] == "rg-team-a"
    assert compute["location"] == "westeurope"
    assert compute["tags"] == {"team": "a", MARK: vm.mark.text}
    assert vm.members["identities"] == {"system": True}


def test_annotation_of_the_page_gives_its_members() -> None:
    (meta,) = [
        value["metadata"]
        for text in texts()
        if "annotations" in (value := yaml.safe_load(text)).get("metadata", {})
    ]
    instance = read_instance(vmi("web-1", "node-1", annotations=meta["annotations"]))
    vm = wanted_vm(instance, InstanceTemplate(), "cni-1", trusts_annotations=True)
    assert [*meta["annotations"]] == [ANNOTATION]
    assert vm.members["compute"]["vmSize"] == "Standard_D2s_v5"
    assert vm.members["identities"] == {"system": True}


def test_guest_of_the_page_has_the_binding_that_works() -> None:
    (found,) = [
        value for text in texts() if (value := yaml.safe_load(text)).get("kind") == "VirtualMachine"
    ]
    (card,) = found["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"]
    assert "masquerade" in card


def test_arguments_of_the_page_are_options_of_the_command() -> None:
    pod = block_with("containers")
    (watcher,) = pod["containers"]
    assert watcher["args"][:2] == ["kubevirt", "follow"]
    (variable,) = watcher["env"]
    (node,) = [one for one in kubevirt_follow.params if one.name == "node"]
    assert variable["name"] == node.envvar
    with click.Context(kubevirt_follow) as context:
        words = [*watcher["args"][2:], "--node", "node-1"]
        parsed, rest, _ = kubevirt_follow.make_parser(context).parse_args(words)
    assert rest == []
    assert parsed["proc"] == "/host/proc"


def test_rights_of_the_page_are_those_of_the_calls() -> None:
    (rule,) = block_with("rules")["rules"]
    (group,), (resource,) = rule["apiGroups"], rule["resources"]
    assert f"/apis/{group}/v1/{resource}" == _PATH
    assert rule["verbs"] == ["list", "watch"]
