"""A contract for import-linter: modules that may import nothing of the package but a list.

The built-in types name the modules that are forbidden, so a new module is allowed until its name is
listed. Here the list names the allowed ones, and a new module is forbidden by itself.
"""

import grimp
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain import helpers


class AllowListContract(Contract):
    """`modules` and their descendants import only `allowed` modules of the package.

    `allowed` modules stand for their descendants, too. Imports between the modules themselves and
    imports of external packages are not judged.
    """

    type_name = "allow_list"

    modules = fields.ListField(subfield=fields.ModuleExpressionField())
    allowed = fields.ListField(subfield=fields.ModuleExpressionField())

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002, FBT001 - the signature of import-linter
        """Collect the imports that the list does not have."""

        def members(expressions: object) -> set[str]:
            matches = helpers.module_expressions_to_modules(graph, expressions, as_packages=True)  # type: ignore[arg-type]
            return {module.name for module in matches}

        importers = members(self.modules)
        allowed = importers | members(self.allowed)
        package = next(iter(importers)).partition(".")[0] + "."
        illegal = [
            (importer, imported)
            for importer in sorted(importers)
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if imported.startswith(package) and imported not in allowed
        ]
        return ContractCheck(kept=not illegal, metadata={"illegal": illegal})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each import that is not allowed."""
        for importer, imported in check.metadata["illegal"]:
            output.print_error(f"- {importer} -> {imported} is not in the list", bold=False)
