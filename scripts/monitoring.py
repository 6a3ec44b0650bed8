"""The Grafana dashboard from rows, and the alerts of the page from the rules.

The dashboard has the schema of Grafana 11. A panel is one row here; tests load each query against
a real Prometheus.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parents[1] / "packaging" / "monitoring"
RULES = FOLDER / "rules.yaml"
_ON = '{instance=~"$instance"}'
_WIDTH, _HEIGHT, _COLUMNS = 8, 7, 3


class Panel(NamedTuple):
    """A panel: its title, its queries by legend, the unit of Grafana, and its kind."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"


class Section(NamedTuple):
    """A row of the dashboard, with its panels."""

    title: str
    panels: tuple[Panel, ...]


def _rate(metric: str, by: str = "", more: str = "") -> str:
    """Return the rate of a counter, summed by labels."""
    labels = f" by ({by})" if by else ""
    return f'sum{labels} (rate({metric}{{instance=~"$instance"{more}}}[$__rate_interval]))'


def _quantile(share: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {_rate(f'{metric}_bucket', labels)})"


SECTIONS = (
    Section(
        "Now",
        (
            Panel("Answering", {"{{instance}}": 'up{job="openimds"}'}, kind="stat"),
            Panel("VMs", {"": f"sum(openimds_vms{_ON})"}, kind="stat"),
            Panel(
                "Fleet file served",
                {"{{instance}}": f"openimds_fleet_file_last_reload_successful{_ON}"},
                kind="stat",
            ),
            Panel("Changes refused", {"{{instance}}": f"openimds_degraded{_ON}"}, kind="stat"),
            Panel("VMs quarantined", {"": f"sum(openimds_vms_quarantined{_ON})"}, kind="stat"),
            Panel(
                "Release",
                {"{{version}}": f"count by (version) (openimds_build_info{_ON})"},
                kind="stat",
            ),
        ),
    ),
    Section(
        "Guests",
        (
            Panel(
                "Requests by endpoint",
                {"{{endpoint}}": _rate("openimds_requests_total", "endpoint")},
                "reqps",
            ),
            Panel(
                "Refusals by reason",
                {"{{reason}}": _rate("openimds_refusals_total", "reason")},
                "reqps",
            ),
            Panel(
                "Latency, 99 of 100",
                {"{{class}}": _quantile(0.99, "openimds_request_duration_seconds", "class")},
                "s",
            ),
            Panel(
                "Busiest VMs",
                {
                    "{{vm}}": f"topk(10, {_rate('openimds_vm_requests_total', 'vm')})",
                    "all others": _rate("openimds_other_vms_requests_total"),
                },
                "reqps",
            ),
            Panel(
                "Refused requests of VMs",
                {"{{vm}}": f"topk(10, {_rate('openimds_vm_refused_total', 'vm')})"},
                "reqps",
            ),
            Panel(
                "Fairness",
                {
                    "parked": _rate("openimds_turns_parked_total"),
                    "delayed": _rate("openimds_turns_delayed_total"),
                    "VMs delayed": f"sum(openimds_vms_penalised{_ON})",
                },
            ),
            Panel(
                "Connections",
                {
                    "open {{instance}}": f"openimds_connections{_ON}",
                    "most {{instance}}": f"openimds_connections_limit{_ON}",
                },
            ),
            Panel(
                "Connections closed for want of room",
                {
                    "refused": _rate("openimds_connections_refused_total"),
                    "evicted": _rate("openimds_connections_evicted_total"),
                },
            ),
            Panel(
                "Unknown callers",
                {"{{instance}}": _rate("openimds_unknown_callers_total", "instance")},
            ),
            Panel(
                "Signing, 99 of 100",
                {"signature": _quantile(0.99, "openimds_signing_duration_seconds")},
                "s",
            ),
            Panel(
                "Signatures that wait",
                {
                    "{{instance}}": f"openimds_signing_waiting{_ON}",
                    "refused": _rate("openimds_signing_refused_total"),
                },
            ),
            Panel(
                "Response cache",
                {
                    "size {{instance}}": f"openimds_cache_bytes{_ON}",
                    "most {{instance}}": f"openimds_cache_limit_bytes{_ON}",
                },
                "bytes",
            ),
        ),
    ),
    Section(
        "Control",
        (
            Panel(
                "Operators' requests",
                {"{{method}} {{route}}": _rate("openimds_admin_requests_total", "route, method")},
                "reqps",
            ),
            Panel(
                "Operators' latency, 95 of 100",
                {"{{route}}": _quantile(0.95, "openimds_admin_request_duration_seconds", "route")},
                "s",
            ),
            Panel(
                "Denied",
                {
                    "{{reason}}": _rate("openimds_admin_denied_total", "reason"),
                    "token {{kind}}": _rate("openimds_admin_token_failures_total", "kind"),
                },
                "reqps",
            ),
            Panel(
                "Edits of the fleet file",
                {"{{outcome}}": f"sum by (outcome) (openimds_fleet_file_reloads_total{_ON})"},
            ),
            Panel(
                "Store",
                {
                    "age {{instance}}": f"openimds_store_age_seconds{_ON}",
                    "pruned {{instance}}": (
                        f"time() - openimds_history_pruned_timestamp_seconds{_ON}"
                    ),
                },
                "s",
            ),
            Panel(
                "Scheduled events",
                {
                    "scheduled": f"sum(openimds_events_scheduled{_ON})",
                    "started": f"sum(openimds_events_started{_ON})",
                    "{{trigger}}": _rate("openimds_event_moves_total", "trigger"),
                },
            ),
            Panel(
                "Event hook",
                {
                    "waiting": f"sum(openimds_event_hook_waiting{_ON})",
                    "failed": _rate("openimds_event_hook_failures_total"),
                },
            ),
            Panel(
                "Event loops, late by",
                {
                    "guests {{instance}}": f"openimds_loop_lag_seconds{_ON}",
                    "control {{instance}}": f"openimds_control_loop_lag_seconds{_ON}",
                },
                "s",
            ),
            Panel(
                "Processor",
                {
                    "{{role}} {{instance}}": _rate(
                        "openimds_process_cpu_seconds_total", "role, instance"
                    )
                },
            ),
            Panel(
                "Memory",
                {"{{role}} {{instance}}": f"openimds_process_resident_memory_bytes{_ON}"},
                "bytes",
            ),
            Panel(
                "Open files, part of the bound",
                {
                    "{{role}} {{instance}}": (
                        f"openimds_process_open_fds{_ON} / openimds_process_max_fds{_ON}"
                    )
                },
                "percentunit",
            ),
            Panel(
                "Connections of the ports",
                {"{{port}} {{instance}}": f"openimds_port_connections{_ON}"},
            ),
        ),
    ),
    Section(
        "Hosts",
        (
            Panel("Controls that lead", {"": f"sum(openimds_control_leads{_ON})"}, kind="stat"),
            Panel(
                "Hosts by state",
                {"{{state}}": f"sum by (state) (openimds_hosts{_ON})"},
                kind="stat",
            ),
            Panel("VMs without a host", {"": f"sum(openimds_vms_without_host{_ON})"}, kind="stat"),
            Panel(
                "Hosts that are away",
                {"{{host}}": f"openimds_host_connected{_ON} == 0"},
            ),
            Panel(
                "Age of the oldest change that a host does not show",
                {"{{host}}": f"topk(10, openimds_host_unshown_age_seconds{_ON})"},
                "s",
            ),
            Panel("VMs that hosts refuse", {"{{host}}": f"openimds_host_vms_refused{_ON} > 0"}),
            Panel("Feed of hosts, age", {"{{instance}}": f"openimds_feed_age_seconds{_ON}"}, "s"),
            Panel("Feed of hosts, connected", {"{{instance}}": f"openimds_feed_connected{_ON}"}),
            Panel(
                "Lease of control, age", {"": f"max(openimds_control_lease_age_seconds{_ON})"}, "s"
            ),
        ),
    ),
    Section(
        "Trust",
        (
            Panel(
                "Time until certificates end",
                {
                    "{{part}} {{instance}}": (
                        f"openimds_certificate_expiry_timestamp_seconds{_ON} - time()"
                    ),
                    "admin {{instance}}": (
                        f"openimds_admin_certificate_expiry_timestamp_seconds{_ON} - time()"
                    ),
                },
                "s",
            ),
            Panel(
                "Time until keys of tokens end",
                {"{{use}} {{kid}}": (f"openimds_token_key_expiry_timestamp_seconds{_ON} - time()")},
                "s",
            ),
            Panel(
                "Time until certificates of hosts end",
                {
                    "{{host}}": (
                        "bottomk(10, openimds_host_certificate_expiry_timestamp_seconds"
                        f"{_ON} - time())"
                    )
                },
                "s",
            ),
            Panel(
                "Replaced without a command",
                {
                    "{{part}} {{cause}}": (
                        f"sum by (part, cause) (openimds_certificates_replaced_total{_ON})"
                    )
                },
            ),
        ),
    ),
)
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def queries() -> dict[str, str]:
    """Return every query of the dashboard by the title of its panel and its legend."""
    return {
        f"{panel.title}: {legend}": query
        for section in SECTIONS
        for panel in section.panels
        for legend, query in panel.queries.items()
    }


def dashboard() -> str:
    """Return the dashboard as JSON."""
    panels: list[dict[str, Any]] = []
    top = 0
    for section in SECTIONS:
        panels.append(
            {
                "type": "row",
                "id": len(panels) + 1,
                "title": section.title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
                "panels": [],
            }
        )
        top += 1
        for number, panel in enumerate(section.panels):
            x, y = number % _COLUMNS * _WIDTH, number // _COLUMNS * _HEIGHT
            panels.append(_panel(panel, len(panels) + 1, x, top + y))
        top += -(-len(section.panels) // _COLUMNS) * _HEIGHT
    whole = {
        "title": "OpenIMDS",
        "uid": "openimds",
        "tags": ["openimds"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "panels": panels,
    }
    return json.dumps(whole, indent=2) + "\n"


def _variables() -> list[dict[str, Any]]:
    query = "label_values(openimds_build_info, instance)"
    return [
        {
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "hide": 0,
        },
        {
            "name": "instance",
            "label": "Instance",
            "type": "query",
            "datasource": _DATASOURCE,
            "query": {"query": query, "refId": "instance"},
            "definition": query,
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "id": number,
        "title": panel.title,
        "datasource": _DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _DATASOURCE,
                "expr": query,
                "legendFormat": legend or "__auto",
            }
            for place, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> str:
    """Return the alerts, each with its remedy, as a part of a page."""
    parts = []
    for rule in rules():
        notes = rule["annotations"]
        summary = notes["summary"].replace("{{ $labels.", "*").replace("{{ $value", "*value")
        head = f"### {rule['alert']}\n\n{summary.replace(' }}', '*')}"
        condition = f"`{rule['expr']}`, for {rule['for']}: {rule['labels']['severity']}."
        parts.append(f"{head} {notes['runbook']}\n\n{condition}")
    return "\n\n".join(parts)
