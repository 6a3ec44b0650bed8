"""What a client did wrong, from what it asked: records in, findings out.

Rules of the room are those of `core`: times are in the records, and nothing is looked up. `asked`
reads what a record asks; `single`, `pace` and `trust` each look through the requests of one VM for
breaches of the rules in `spec.strict`; `finding` puts together what they see. A rule that cannot be
told for certain has an excuse written beside it.
"""

from openimds.protocol.lint.finding import Finding, report
from openimds.protocol.lint.rate_rules import most_in
from openimds.protocol.request_log import Record

__all__ = ["Finding", "Record", "most_in", "report"]
