from openimds.admin.openapi import of
from openimds.facts.fields import FieldKind
from openimds.vm.schema_tree import Group, Leaf, Many, Named


def test_a_node_says_its_json_schema() -> None:
    leaf = Leaf("a", FieldKind.BOOLEAN)
    assert of(leaf) == {"type": "boolean"}
    assert of(Leaf("a", choices=("x", "y"))) == {"type": "string", "enum": ["x", "y"]}
    assert of(Many("a", leaf)) == {"type": "array", "items": {"type": "boolean"}}
    assert of(Named("a", leaf)) == {"type": "object", "additionalProperties": {"type": "boolean"}}
    assert of(Group("a", {"b": leaf})) == {
        "type": "object",
        "properties": {"b": {"type": "boolean"}},
        "additionalProperties": False,
    }
