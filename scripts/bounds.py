"""The bound of each queue, table, log and buffer, for docs/know/promises.md.

A row names a constant of the code, from which the page has the value, and the test that reaches it.
"""

from importlib import import_module
from typing import NamedTuple

from msgspec import Struct


class Bound(NamedTuple):
    """A bound: the bounded thing, its constant, the effect beyond it, and its test.

    `constant` is MODULE:NAME below `openimds`; NAME may be a member of a Struct, for its default.
    """

    holds: str
    constant: str
    beyond: str
    test: str


_GUESTS = (
    Bound(
        "open connections of guests, in all",
        "settings:Settings.max_connections",
        "a newcomer gets the place of the largest holder's oldest idle one",
        "unit/dataplane/test_shares.py::test_full_table_shares_evenly_among_those_who_ask",
    ),
    Bound(
        "open connections of a VM; of all unknown callers",
        "settings:Settings.max_connections_per_vm",
        "its own oldest idle one ends, or the newcomer",
        "unit/dataplane/test_shares.py::test_share_beyond_its_bound_loses_its_oldest_idle_connection",
    ),
    Bound(
        "octets of a target",
        "dataplane.dispatcher:Bounds.target_bytes",
        "414",
        "unit/dataplane/test_connection.py::test_unacceptable_bytes_are_refused_and_close",
    ),
    Bound(
        "octets of a head",
        "dataplane.dispatcher:Bounds.head_bytes",
        "431",
        "unit/dataplane/test_connection.py::test_unacceptable_bytes_are_refused_and_close",
    ),
    Bound(
        "headers of a request",
        "dataplane.dispatcher:Bounds.header_count",
        "431",
        "unit/dataplane/test_connection.py::test_unacceptable_bytes_are_refused_and_close",
    ),
    Bound(
        "octets of a body",
        "dataplane.dispatcher:Bounds.body_bytes",
        "413",
        "unit/dataplane/test_connection.py::test_unacceptable_bytes_are_refused_and_close",
    ),
    Bound(
        "octets that are read behind a refusal",
        "dataplane.connection:_LINGER_BYTES",
        "the connection ends",
        "unit/dataplane/test_reactor.py::test_dropped_input_is_bounded",
    ),
    Bound(
        "unsent responses of a connection",
        "",
        "nothing more is read",
        "unit/dataplane/test_connection.py::test_unsent_output_is_one_response_at_most",
    ),
    Bound(
        "MiB of cached responses, in all",
        "settings:Settings.cache_mib",
        "the VM whose response is oldest loses it",
        "unit/dataplane/test_dispatcher.py::test_cached_responses_stay_within_their_bound",
    ),
    Bound(
        "cached responses of a VM",
        "fleet.response_cache:MAX_PER_VM",
        "its own oldest goes",
        "unit/fleet/test_response_cache.py::test_one_vm_cannot_fill_the_cache",
    ),
    Bound(
        "prepared 429 responses",
        "dataplane.dispatcher:_MOST_SHARED",
        "made for each request",
        "unit/dataplane/test_dispatcher.py::test_throttled_responses_are_shared_and_bounded",
    ),
    Bound(
        "counters of unknown callers by address",
        "dataplane.dispatcher:Bounds.unknown_callers",
        "counted together",
        "unit/dataplane/test_dispatcher.py::test_unknown_callers_are_counted_up_to_a_bound",
    ),
    Bound(
        "unpacked VMs",
        "fleet.index:MOST_RECENT",
        "the oldest is packed again",
        "unit/fleet/test_index.py::test_only_the_most_recent_vms_stay_unpacked",
    ),
    Bound(
        "octets of recorded requests, of all VMs",
        "dataplane.recording.recorder:MAX_BYTES",
        "the oldest go, of any VM",
        "unit/dataplane/recording/test_recorder.py::test_byte_bound_drops_the_oldest_of_any_vm",
    ),
    Bound(
        "headers of a recorded request",
        "dataplane.recording.redact:MAX_HEADERS",
        "the others are left out",
        "unit/dataplane/recording/test_redact.py::test_header_count_is_bounded",
    ),
    Bound(
        "active faults",
        "protocol.faults.input:MOST_FAULTS",
        "refused",
        "unit/faults/test_service.py::test_number_of_faults_is_bounded",
    ),
)

_CREDENTIALS = (
    Bound(
        "waiting jobs of the worker that signs",
        "credentials.worker:MOST_WAITING",
        "the newest of the VM with most is refused: 429",
        "unit/credentials/test_worker_fairness.py"
        "::test_full_queue_refuses_the_newest_job_of_the_largest_vm",
    ),
    Bound(
        "waiting jobs of a VM",
        "credentials.worker:MOST_PER_VM",
        "429",
        "unit/credentials/test_worker_fairness.py::test_vm_at_its_bound_is_refused_and_no_other",
    ),
    Bound(
        "cached tokens, in all",
        "credentials.tokens.cache:MAX_TOKENS",
        "the oldest goes",
        "unit/credentials/tokens/test_cache.py::test_cache_evicts_the_oldest_token_beyond_its_limit",
    ),
    Bound(
        "cached tokens of a VM",
        "credentials.tokens.cache:MAX_PER_VM",
        "its own oldest goes",
        "unit/credentials/tokens/test_cache.py::test_vm_beyond_its_limit_evicts_its_own_tokens_only",
    ),
    Bound(
        "octets of cached tokens of a VM",
        "credentials.tokens.cache:MAX_BYTES_PER_VM",
        "its own oldest goes",
        "unit/credentials/tokens/test_cache.py::test_large_tokens_of_a_vm_are_cached_up_to_their_bytes",
    ),
    Bound(
        "challenges of Azure Arc, in all",
        "credentials.tokens.arc_challenge:MAX_CHALLENGES",
        "429",
        "unit/credentials/tokens/test_arc_challenge.py::test_challenges_beyond_the_limit_are_refused",
    ),
    Bound(
        "challenges of a VM",
        "credentials.tokens.arc_challenge:MAX_PER_VM",
        "its oldest goes",
        "unit/credentials/tokens/test_arc_challenge.py"
        "::test_oldest_challenge_of_a_vm_beyond_its_limit_is_dropped",
    ),
    Bound(
        "cached attested documents",
        "credentials.pki.document_cache:MAX_DOCUMENTS",
        "the oldest goes",
        "unit/credentials/pki/test_document_cache.py"
        "::test_cache_evicts_the_oldest_document_beyond_its_limit",
    ),
    Bound(
        "signing leaves in memory",
        "credentials.pki.leaves:_MAX_LEAVES",
        "the least recently used goes",
        "unit/credentials/pki/test_authority.py::test_leaf_cache_evicts_the_least_recently_used",
    ),
    Bound(
        "replaced certificates that are published",
        "credentials.pki.chain_files:_MAX_OLD",
        "the oldest goes",
        "unit/credentials/pki/test_rotation.py::test_rotation_drops_expired_and_oldest_certificates",
    ),
    Bound(
        "register of leaves",
        "credentials.pki.revocation_register:MAX_ENTRIES",
        "the oldest that is not revoked goes",
        "unit/credentials/pki/test_revocation_lists.py"
        "::test_register_is_bounded_and_keeps_revoked_entries",
    ),
    Bound(
        "cached revocation lists",
        "credentials.pki.revocation_lists:MAX_LISTS",
        "the oldest goes",
        "unit/credentials/pki/test_revocation_lists.py::test_lists_are_bounded",
    ),
    Bound(
        "cached OCSP responses",
        "credentials.pki.ocsp_responses:MAX_RESPONSES",
        "the oldest goes",
        "unit/credentials/pki/test_ocsp.py::test_responses_are_bounded",
    ),
    Bound(
        "endorsements of processors",
        "credentials.hardware.service:MOST_ENDORSEMENTS",
        "the oldest goes",
        "unit/credentials/hardware/test_service.py::test_cache_of_endorsements_is_bounded",
    ),
    Bound(
        "fetches from Entra that wait",
        "credentials.entra.bulkheads:MOST_WAITING",
        "429",
        "unit/credentials/entra/test_bulkheads.py"
        "::test_full_queue_refuses_the_largest_vm_of_the_largest_tenant",
    ),
    Bound(
        "threads of a tenant of Entra",
        "credentials.entra.bulkheads:MOST_PER_TENANT",
        "the fetch waits",
        "unit/credentials/entra/test_bulkheads.py::test_lone_tenant_gets_its_bound_of_threads",
    ),
    Bound(
        "remembered failures of Entra",
        "credentials.entra.failures:MOST_REMEMBERED",
        "the oldest goes",
        "unit/credentials/entra/test_failures.py"
        "::test_memory_drops_its_oldest_failure_beyond_the_bound",
    ),
)

_OPERATORS = (
    Bound(
        "connections of the admin port; of the public port",
        "server.file_budget:MOST_PORT_CONNECTIONS",
        "a newcomer gets the place of the largest holder's oldest idle one, or is closed",
        "unit/admin/test_connection_shares.py::test_newcomer_gets_the_place_of_the_largest_holder",
    ),
    Bound(
        "handshakes of TLS under way",
        "admin.lazy_server:MOST_HANDSHAKES",
        "a newcomer gets the place of the oldest",
        "unit/admin/test_lazy_server.py::test_handshakes_have_a_bound",
    ),
    Bound(
        "octets of a body of the admin API",
        "admin.auth:MOST_BODY_BYTES",
        "413",
        "unit/admin/test_app.py::test_refusal_has_one_shape_and_changes_nothing",
    ),
    Bound(
        "octets of changes and log entries that a reader of the feed has not taken",
        "fleet.change_feed:MAX_BYTES",
        "its connection ends, and it resumes from the store without loss",
        "unit/fleet/test_change_feed.py::test_reader_beyond_the_octets_gets_none",
    ),
    Bound(
        "octets of a page of a list, beyond its first item",
        "admin.pages:MAX_PAGE_BYTES",
        "the page ends, and `next` continues",
        "unit/admin/test_pages.py::test_page_ends_at_its_octets",
    ),
    Bound(
        "changes that a reader of the feed has not taken",
        "fleet.change_feed:MOST_ITEMS",
        "its connection ends, and it resumes from the store without loss",
        "unit/admin/handlers/test_changes.py::test_slow_reader_is_cut_and_resumes_without_loss",
    ),
    Bound(
        "requests that a follower has not taken",
        "dataplane.recording.recorder:_FEED_LENGTH",
        "left out, and the follower is informed",
        "unit/dataplane/recording/test_recorder.py::test_slow_subscriber_gets_none_for_lost_records",
    ),
    Bound(
        "the same, in the control process",
        "server.seam.remote_recording:_FEED_LENGTH",
        "left out, and the follower is informed",
        "unit/server/seam/test_seam.py::test_slow_follower_of_requests_gets_none_for_lost_ones",
    ),
    Bound(
        "log lines that the event hook is behind",
        "events.webhook:MOST_BEHIND",
        "skipped and counted",
        "unit/events/test_webhook.py::test_line_too_far_behind_is_skipped_and_counted",
    ),
    Bound(
        "changes, and lines of the event log, without a state folder",
        "fleet.store.sqlite:MemoryStore.max_log_rows",
        "the oldest go",
        "unit/fleet/store/test_memory.py::test_changes_beyond_the_bound_are_dropped",
    ),
    Bound(
        "MiB of history in a state folder: audit and event log",
        "settings:Settings.history_mib",
        "the oldest rows are pruned; a reader's position before them gets 410",
        "contract/test_store_history.py::test_newest_rows_within_the_size_are_kept",
    ),
    Bound(
        "days of history in a state folder",
        "settings:Settings.history_days",
        "older rows are pruned",
        "contract/test_store_history.py::test_rows_older_than_the_bound_are_pruned",
    ),
    Bound(
        "rows of one step of pruning",
        "fleet.store.history:STEP_ROWS",
        "other calls of the store come first",
        "unit/fleet/test_pruner.py::test_other_calls_come_between_the_steps_of_a_run",
    ),
    Bound(
        "scopes without events and VMs at a start",
        "events.writer:MOST_UNUSED",
        "all of them are forgotten; scopes of VMs added later begin above their numbers",
        "unit/events/test_service.py::test_unused_scopes_are_forgotten_and_numbers_never_fall",
    ),
    Bound(
        "hanging answers of the public port",
        "facts.public_faults:MAX_HELD",
        "the connection ends at once",
        "unit/admin/test_public_faults.py::test_hang_beyond_the_bound_ends_at_once",
    ),
    Bound(
        "quarantined VMs that are reported one by one",
        "fleet.quarantine:MOST_DETAILED",
        "counted in one line",
        "unit/fleet/test_quarantine.py::test_reports_name_a_bounded_number_of_vms",
    ),
    Bound(
        "octets of a file of the state folder",
        "private_files:MOST_BYTES",
        "refused",
        "unit/test_private_files.py::test_file_beyond_the_bound_is_refused",
    ),
)

_SEAM = (
    Bound(
        "calls under way in one direction",
        "server.seam.channel:MOST_CALLS",
        "a further one waits",
        "unit/server/seam/test_channel.py::test_call_beyond_the_bound_waits_for_a_place",
    ),
    Bound(
        "octets of a message",
        "server.seam.messages:MAX_FRAME_BYTES",
        "the channel ends",
        "unit/server/seam/test_channel.py::test_octets_that_are_no_frame_end_the_channel",
    ),
    Bound(
        "octets of records that wait for control",
        "server.seam.host_end:MOST_UNSENT_BYTES",
        "records are left out for followers",
        "unit/server/seam/test_seam.py::test_records_are_left_out_while_control_does_not_read",
    ),
    Bound(
        "documents of the public port that control caches",
        "server.seam.publication_access:MOST_CACHED",
        "the oldest goes",
        "unit/server/seam/test_publication_access.py"
        "::test_names_that_do_not_exist_take_a_bounded_part_of_time",
    ),
)

BOUNDS: dict[str, tuple[Bound, ...]] = {
    "Of guests": _GUESTS,
    "Of keys, tokens and certificates": _CREDENTIALS,
    "Of operators and the store": _OPERATORS,
    "Between the two processes": _SEAM,
}


def value_of(constant: str) -> int:
    """Return the value of a constant of a row."""
    module, _, name = constant.partition(":")
    value: object = import_module(f"openimds.{module}")
    for part in name.split("."):
        is_row = isinstance(value, type) and issubclass(value, Struct)
        value = getattr(value() if is_row else value, part)  # type: ignore[operator]
    assert isinstance(value, int)
    return value
