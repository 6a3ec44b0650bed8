"""The type of options that take a time span."""

import click

from openimds.parameters import DURATION, Parameter, read_value


class Duration(click.ParamType):  # type: ignore[type-arg]  # click 8.1 takes none
    """Seconds, at least 0, or a duration such as 90s, 10m or 2h30m.

    Options that are made of rows get the same reader: their metavar is `DURATION`.
    """

    name = DURATION.lower()

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds.

        Raises:
            ConfigError: it is none; `where` is the option.
        """
        del ctx
        where = param.opts[0] if param else self.name
        row = Parameter(self.name, float, "", minimum=0, metavar=DURATION)
        seconds: float = read_value(row, value, where, text=True)
        return seconds
