"""The one mistake that every format can make and no parser tells."""


class DuplicateNameError(ValueError):
    """A name that stands twice in one mapping."""
