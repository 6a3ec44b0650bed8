"""`openimds completion`: the script by which a shell completes commands and options."""

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For bash, in ~/.bashrc: eval "$(openimds completion bash)".
    """
    kind = get_completion_class(shell)
    assert kind is not None  # The choice above has only shells that click knows.
    complete = kind(context.find_root().command, {}, "openimds", "_OPENIMDS_COMPLETE")
    click.echo(complete.source())
