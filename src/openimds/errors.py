"""The mistakes of the operator and of the world, as one small tree.

`Error` is above all; `ConfigError` says that what was written in a file, a flag or the environment
cannot be used. What a guest does wrong is never an exception: it is a row of `spec.refusals`.
"""


class Error(Exception):
    """Anything that stops a command, with a text that a person can act on."""


class ConfigError(Error):
    """Bad configuration.

    `where` is the file and the path inside it, `seen` the value, `expected` the values that fit,
    and `hint` the remedy, or empty. A hint that is a question suggests the nearest right word.
    """

    def __init__(self, where: str, seen: str, expected: str, hint: str = "") -> None:
        """Keep the four parts, so that a caller can put a file name before `where`."""
        self.where, self.seen, self.expected, self.hint = where, seen, expected, hint
        super().__init__(where, seen, expected, hint)

    def __str__(self) -> str:
        """Return the one-line form: `where: saw X, expected Y. Hint`.

        A suggestion stands before the expectation, which may be a long list.
        """
        if self.hint.endswith("?"):
            return f"{self.where}: saw {self.seen}. {self.hint} Expected {self.expected}"
        text = f"{self.where}: saw {self.seen}, expected {self.expected}"
        return f"{text}. {self.hint}" if self.hint else text

    def inside(self, outer: str) -> "ConfigError":
        """Return the same error seen from further out, e.g. with the file's name in front."""
        where = f"{outer}: {self.where}" if outer else self.where
        return ConfigError(where, self.seen, self.expected, self.hint)


class SpellingError(ConfigError):
    """A mapping with a key in both spellings, snake_case and camelCase."""


class DuplicateNameError(ValueError):
    """A name that stands twice in one mapping."""
