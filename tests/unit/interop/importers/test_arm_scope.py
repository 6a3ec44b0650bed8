"""Expressions of a template: their grammar, and the functions that need the template."""

from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.interop.importers.arm_deployment import Deployment
from openimds.interop.importers.arm_parser import DEEPEST, LONGEST, Call, Literal, Member, parse
from openimds.interop.importers.arm_scope import (
    BUDGET,
    MOST_COPIES,
    Budget,
    Scope,
)
from openimds.interop.importers.arm_scope import DEEPEST as DEEPEST_VALUE
from openimds.interop.importers.unread import Reference, Secret, StandIn, Unread, UnreadError

SUBSCRIPTION = "11111111-2222-4333-8444-555555555555"
LAB = Deployment(SUBSCRIPTION, "lab", "westus")
PROVIDERS = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/lab/providers"
TEMPLATE: dict[str, Any] = {
    "parameters": {
        "a": {"type": "string", "defaultValue": "A"},
        "self": {"type": "string", "defaultValue": "[parameters('self')]"},
        "none": {"type": "string"},
        "maybe": {"type": "string", "nullable": True},
        "odd": 5,
        "named": {"$ref": "#/definitions/maybeType"},
        "stray": {"$ref": "#/definitions/none", "defaultValue": "s"},
        "key": {"type": "secureString", "defaultValue": "hunter2"},
        "keys": {"type": "SecureObject", "defaultValue": {"a": ["x", 1]}},
    },
    "variables": {
        "b": "[concat(parameters('a'), 'B')]",
        "list": ["x", "[variables('b')]"],
        "map": {"One": {"two": [3]}},
        "grow": "[concat(variables('grow'), 'x')]",
        "mixed": {"open": "o", "closed": "[parameters('key')]"},
        "copy": [
            {"name": "names", "count": 2, "input": "[format('n{0}', copyIndex('names'))]"},
            {"name": "many", "count": MOST_COPIES + 1, "input": 1},
            {"name": "unknown", "count": "[newGuid()]", "input": 1},
            "odd",
        ],
        "inner": {
            "copy": [{"name": "disks", "count": 2, "input": {"lun": "[copyIndex('disks')]"}}]
        },
    },
    "definitions": {"maybeType": {"type": "secureString", "nullable": True}},
    "functions": [
        {
            "namespace": "my",
            "members": {
                "twice": {
                    "parameters": [{"name": "it", "type": "string"}],
                    "output": {"value": "[concat(parameters('it'), parameters('it'))]"},
                },
                "odd": 5,
                "empty": {"parameters": 5},
            },
        },
        "odd",
    ],
}


def _scope(deployment: Deployment = LAB, **given: object) -> Scope:
    return Scope(TEMPLATE, given, deployment, Budget())


VALUES: dict[str, object] = {
    "Standard_B1s": "Standard_B1s",
    "[parameters('a')]": "A",
    "[ PARAMETERS( 'A' ) ]": "A",
    "[variables('b')]": "AB",
    "[variables('list')[1]]": "AB",
    "[variables('list')[sub(2, 1)]]": "AB",
    "[variables('map').one['TWO'][0]]": 3,
    "[variables('names')]": ["n0", "n1"],
    "[variables('inner').disks]": [{"lun": 0}, {"lun": 1}],
    "[concat('it''s')]": "it's",
    "['literal']": "literal",
    "[[escaped]": "[escaped]",
    "[not closed": "[not closed",
    "[-5]": -5,
    "[parameters('maybe')]": None,
    "[parameters('named')]": None,
    "[parameters('stray')]": "s",
    "[resourceId('A/b/', 'x')]": f"{PROVIDERS}/A/b/x",
    "[if(true(), 'a', newGuid())]": "a",
    "[if(equals(parameters('a'), 'b'), newGuid(), null())]": None,
    "[and(false(), newGuid())]": False,
    "[and(true(), not(false()))]": True,
    "[or(true(), newGuid())]": True,
    "[or(false(), false())]": False,
    "[my.twice('x')]": "xx",
    "[resourceGroup().location]": "westus",
    "[resourceGroup().name]": "lab",
    "[deployment().location]": "westus",
    "[subscription().subscriptionId]": SUBSCRIPTION,
    "[resourceId('A/b', 'x')]": f"{PROVIDERS}/A/b/x",
    "[resourceId('other', 'A/b/c', 'x', 'y')]": (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/other/providers/A/b/x/c/y"
    ),
    "[resourceId('s', 'g', 'A/b', 'x')]": "/subscriptions/s/resourceGroups/g/providers/A/b/x",
    "[subscriptionResourceId('A/b', 'x')]": f"/subscriptions/{SUBSCRIPTION}/providers/A/b/x",
    "[tryGet(variables('map'), 'one', 'two', 0)]": 3,
    "[tryGet(variables('map'), 'none')]": None,
    "[map(range(0, 2), lambda('i', concat('x', lambdaVariables('i'))))]": ["x0", "x1"],
    "[map(variables('list'), lambda('v', 'n', lambdaVariables('n')))]": [0, 1],
    "[reduce(range(0, 4), 9, lambda('a', 'b', sub(lambdaVariables('a'), lambdaVariables('b'))))]": (
        3
    ),
    "[toObject(variables('list'), lambda('v', concat('k', lambdaVariables('v'))))]": {
        "kx": "x",
        "kAB": "AB",
    },
    "[toObject(range(1, 1), lambda('v', 'a'), lambda('v', lambdaVariables('v')))]": {"a": 1},
    "[filter(variables('list'), lambda('v', equals(lambdaVariables('v'), 'x')))]": ["x"],
}


@pytest.mark.parametrize("text", VALUES)
def test_expression_has_its_value(text: str) -> None:
    assert _scope().expand(text) == VALUES[text]


GRAMMAR = "it is not of ARM's grammar"
UNREAD: dict[str, str] = {
    "[parameters('a') 'x']": GRAMMAR,
    "[parameters 'a']": GRAMMAR,
    "[concat('a']": GRAMMAR,
    "[concat('a' 'b')]": GRAMMAR,
    "[parameters]": GRAMMAR,
    "[]": GRAMMAR,
    "[concat(]": GRAMMAR,
    "[concat(,]": GRAMMAR,
    "[1x]": GRAMMAR,
    "[a%b]": GRAMMAR,
    "[parameters('a']]": GRAMMAR,
    "[parameters('none')]": "the parameter none has no value: add a parameter file",
    "[parameters('odd')]": "the parameter odd has no value: add a parameter file",
    "[parameters('unknown')]": "the template has no parameter of that name",
    "[variables('hidden')]": "the template has no variable of that name",
    "[parameters('a', 'a')]": "arguments that parameters() does not take",
    "[parameters('self')]": "self refers to itself",
    "[variables('grow')]": "grow refers to itself",
    "[variables('many')]": f"it is not a whole number from 0 to {MOST_COPIES}",
    "[variables('unknown')]": "newGuid(): only the deployment knows it",
    "[parameters('a').b]": "a member or an element that the value does not have",
    "[variables('list')[2]]": "a member or an element that the value does not have",
    "[variables('map').other]": "a member or an element that the value does not have",
    "[x()]": "the function x() is not read here",
    "[my.twice()]": "arguments that a function of the template does not take",
    "[my.empty()]": "arguments that a function of the template does not take",
    "[if('x', 1, 2)]": "arguments that if() does not take",
    "[if(true())]": "arguments that if() does not take",
    "[copyIndex()]": "copyIndex() outside of its loop",
    "[resourceId('a')]": "arguments that resourceId() does not take",
    "[resourceId('A/b')]": "arguments that resourceId() does not take",
    "[resourceId()]": "arguments that resourceId() does not take",
    "[reference('vm').vmId]": "reference(): only the deployment knows it",
    "[reference()]": "reference(): only the deployment knows it",
    "[subscription().tenantId]": "only the deployment knows it",
    "[tryGet()]": "arguments that tryGet() does not take",
    "[map('a', lambda('i', 1))]": "arguments that map() does not take",
    "[map(range(0, 1), 'x')]": "arguments that map() does not take",
    "[map(range(0, 1), lambda('i', x()))]": "the function x() is not read here",
    "[reduce('a', 0, lambda('i', 'j', 1))]": "arguments that reduce() does not take",
    "[toObject()]": "arguments that toObject() does not take",
    "[sort(range(0, 2), lambda('a', 'b', true()))]": (
        "the function around a lambda is not read here"
    ),
    "[lambdaVariables('i')]": "the template has no variable of that name",
}


@pytest.mark.parametrize("text", UNREAD)
def test_expression_that_cannot_be_read_says_why(text: str) -> None:
    assert _scope().expand(text) == Unread(UNREAD[text], text)


WITHOUT_PLACE: dict[str, str] = {
    "[resourceGroup().location]": "resourceGroup().location needs --location",
    "[deployment().location]": "deployment().location needs --location",
    "[resourceGroup().name]": "resourceGroup().name needs --resource-group",
    "[subscription().subscriptionId]": "subscription() needs --subscription",
}


@pytest.mark.parametrize("text", WITHOUT_PLACE)
def test_place_of_the_deployment_needs_its_flag(text: str) -> None:
    assert _scope(Deployment()).expand(text) == Unread(WITHOUT_PLACE[text], text)


def test_id_without_flags_is_only_a_reference() -> None:
    ids = _scope(Deployment()).expand({"a": ["[resourceId('A/b', 'x')]", "['y']"]})
    assert isinstance(ids, dict)
    reference, plain = ids["a"]
    assert isinstance(reference, Reference)
    assert reference.endswith("/providers/A/b/x")
    assert reference.expression == "[resourceId('A/b', 'x')]"
    assert not isinstance(plain, Reference)


def test_object_with_references_keeps_its_values() -> None:
    made = _scope(Deployment()).expand("[createObject('id', resourceId('A/b', 'x'), 'n', 1)]")
    assert isinstance(made, dict)
    assert (type(made["id"]), made["n"]) == (Reference, 1)


SECRETS = [
    "[parameters('key')]",
    "[concat('x', parameters('key'))]",
    "[base64(parameters('key'))]",
    "[first(createArray(parameters('key')))]",
    "[parameters('keys').a[0]]",
    "[variables('mixed').closed]",
    "[concat(uniqueString('a'), parameters('key'))]",
]


@pytest.mark.parametrize("text", SECRETS)
def test_value_of_a_secure_parameter_is_a_secret(text: str) -> None:
    assert isinstance(_scope().expand(text), Secret)


@pytest.mark.parametrize("text", ["[variables('mixed').open]", "[parameters('a')]"])
def test_value_beside_a_secret_is_none(text: str) -> None:
    assert not isinstance(_scope().expand(text), Secret)


def test_unique_string_has_a_stable_stand_in() -> None:
    first = _scope().expand("[uniqueString(resourceGroup().id)]")
    assert isinstance(first, StandIn)
    assert first == _scope().expand("[uniqueString(resourceGroup().id)]")
    assert first != _scope().expand("[uniqueString('other')]")
    assert len(first) == 13
    assert isinstance(_scope().expand("[take(uniqueString(reference('x').y), 4)]"), StandIn)
    guid = _scope().expand("[guid('a', 1)]")
    assert isinstance(guid, StandIn)
    assert len(guid) == 36


def test_given_value_wins_over_the_default() -> None:
    assert _scope(a="B").expand("[variables('b')]") == "BB"
    unread = Unread("its value is elsewhere")
    assert _scope(none=unread).expand("[parameters('none')]") == Unread(
        unread.reason, "[parameters('none')]"
    )


def test_copy_index_counts_its_loop() -> None:
    scope = _scope()
    with scope.loop("outer", 2), scope.loop("inner", 5):
        assert scope.expand("[copyIndex()]") == 5
        assert scope.expand("[copyIndex(1)]") == 6
        assert scope.expand("[copyIndex('OUTER')]") == 2
        assert scope.expand("[copyIndex('outer', 10)]") == 12
        assert isinstance(scope.expand("[copyIndex('other')]"), Unread)
        assert isinstance(scope.expand("[copyIndex('outer', 'x')]"), Unread)
        assert isinstance(scope.expand("[copyIndex(1, 2)]"), Unread)
    assert isinstance(scope.expand("[copyIndex('inner')]"), Unread)


def test_members_of_a_loop_are_expanded() -> None:
    loop = {"name": "disks", "count": 2, "input": "[copyIndex('disks')]"}
    unknown = {"name": "x", "count": "[newGuid()]"}
    made = _scope().expand({"copy": [loop, unknown, {"count": 1}], "a": 1})
    reason = "newGuid(): only the deployment knows it"
    assert made == {"disks": [0, 1], "x": Unread(reason, "[newGuid()]"), "a": 1}


@pytest.mark.parametrize("count", [-1, True, "2", MOST_COPIES + 1])
def test_number_of_copies_is_bounded(count: object) -> None:
    assert isinstance(_scope().count(count), Unread)


def test_largest_number_of_copies_is_taken() -> None:
    assert _scope().count(MOST_COPIES) == MOST_COPIES


def test_outputs_of_a_deployment_are_a_reference() -> None:
    scope = _scope()
    scope.outputs["mod"] = lambda: {"id": {"value": "x"}}
    assert scope.expand("[reference(resourceId('A/b', 'Mod'), '2022').outputs.id.value]") == "x"
    assert scope.expand("[reference('mod').outputs.id.value]") == "x"


def test_tree_of_an_expression_has_its_nodes() -> None:
    assert parse("f('a', 1).b[2]") == Member(
        Member(Call("f", (Literal("a"), Literal(1))), Literal("b")), Literal(2)
    )


def test_length_of_an_expression_is_bounded() -> None:
    text = "'" + "x" * (LONGEST - 2) + "'"
    assert parse(text) == Literal("x" * (LONGEST - 2))
    with pytest.raises(UnreadError, match=f"more than {LONGEST} characters"):
        parse(text + " ")


@pytest.mark.parametrize("before, after", [("f(", ")"), ("", "[f()]"), ("f()[", "]")])
def test_depth_of_an_expression_is_bounded(before: str, after: str) -> None:
    parse(before * (DEEPEST - 2) + "f()" + after * (DEEPEST - 2))
    with pytest.raises(UnreadError, match=f"more than {DEEPEST} levels"):
        parse(before * DEEPEST + "f()" + after * DEEPEST)


def test_depth_of_a_value_is_bounded() -> None:
    deep: Any = "bottom"
    for _ in range(DEEPEST_VALUE + 5):
        deep = [deep]
    found: Any = _scope().expand(deep)
    while isinstance(found, list):
        (found,) = found
    assert found == Unread(f"more than {DEEPEST_VALUE} levels inside each other")


def test_values_of_variables_may_not_pile_up() -> None:
    nested = "v0"
    variables: dict[str, object] = {"v0": 1}
    for number in range(1, 120):
        inner = "createArray(" * 30 + f"variables('{nested}')" + ")" * 30
        nested = f"v{number}"
        variables[nested] = f"[{inner}]"
    scope = Scope({"variables": variables}, {}, LAB, Budget())
    found = [scope.expand(f"[variables('{name}')]") for name in variables]
    assert found[0] == 1
    assert isinstance(found[-1], Unread)


def test_number_of_values_is_bounded() -> None:
    doubling: dict[str, object] = {"v0": "x"}
    for number in range(1, 40):
        inner = f"variables('v{number - 1}')"
        doubling[f"v{number}"] = f"[createArray({inner}, {inner})]"
    scope = Scope({"variables": doubling}, {}, LAB, Budget())
    with pytest.raises(ConfigError, match=f"makes more than {BUDGET} values"):
        scope.expand([f"[variables('{name}')]" for name in doubling])


def test_characters_of_texts_count_as_values() -> None:
    budget = Budget(10)
    budget.spend("x" * 64 * 9)
    with pytest.raises(ConfigError):
        budget.spend("x")


def test_odd_members_of_a_template_are_ignored() -> None:
    odd = Scope({"parameters": [], "variables": 5, "functions": {}}, {}, LAB, Budget())
    assert odd.expand("[concat('a')]") == "a"
