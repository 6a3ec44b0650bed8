"""Groups of commands, which know other tools' names and suggest the nearest one."""

from collections.abc import Mapping
from difflib import get_close_matches

import click

HABITS: Mapping[str, tuple[str, ...]] = {
    "get": ("show", "list"),
    "describe": ("show",),
    "ls": ("list",),
    "delete": ("remove", "revoke", "cancel"),
    "rm": ("remove", "revoke", "cancel"),
    "destroy": ("remove", "revoke"),
    "create": ("put", "add", "schedule", "assign", "set"),
    "new": ("put", "add", "schedule", "assign", "set"),
    "apply": ("put",),
    "edit": ("patch",),
    "update": ("patch",),
}
"""The commands that other tools' names mean here, the first that a group has.

`clear` is none of them: without ids it clears all faults.
"""
_HELP = "help"
"""`help` and `help NAME` are `--help` and `NAME --help`."""


class CommandGroup(click.Group):
    """A group that knows the habits of other tools, and suggests the nearest command."""

    group_class = type
    """Subgroups are of this class too: click reads this attribute."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument means.

        Raises:
            UsageError: there is none; it names the nearest one, if any is near.
        """
        name, known = args[0], self.list_commands(ctx)
        if name == _HELP and name not in known and not ctx.resilient_parsing:
            if args[1:]:
                return self.resolve_command(ctx, [*args[1:], "--help"])
            click.echo(ctx.get_help())
            ctx.exit()
        if ctx.resilient_parsing or name in known or name.startswith("-"):
            return super().resolve_command(ctx, args)
        meant = next((one for one in HABITS.get(name, ()) if one in known), None)
        if meant:
            return super().resolve_command(ctx, [meant, *args[1:]])
        near = "".join(
            f"{ctx.command_path} {one}, or " for one in get_close_matches(name, known, 1)
        )
        raise click.UsageError(
            f'there is no command "{name}". Type {near}{ctx.command_path} --help for all commands',
            ctx,
        )
