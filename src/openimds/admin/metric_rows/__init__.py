"""The rows of the metrics, in the order of the exposition.

A row gives the exposition, the page docs/know/metrics.md, and the checks that no page, alert rule
or dashboard names a metric that does not exist. Names follow Prometheus: the unit is their end,
counters gain `_total`. A new metric is one row here, and one line where the server reads its value.

`guests` are the rows of the host role, `processes` those of each process, `control` those of the
control role, `hosts` those of a fleet of hosts.
"""
