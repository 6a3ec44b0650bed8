"""Client checks: records of requests in, findings of client mistakes out.

Rules of the room are those of `protocol`: times are in the records, and nothing is looked up.
`requests` parses a record again; `request_rules`, `rate_rules` and `credential_rules` each go
through the requests of one VM for breaches of the rules in `facts.lint`; `finding` collects them
into a report. A rule that cannot be judged for certain has an excuse beside it.
"""

from openimds.protocol.lint.finding import Finding, broken_rules, report
from openimds.protocol.lint.rate_rules import most_in
from openimds.protocol.request_log import Record

__all__ = ["Finding", "Record", "broken_rules", "most_in", "report"]
