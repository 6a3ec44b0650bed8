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
        "half-open connections of a VM behind the rules of `openimds host`",
        "linux.host.nft_rules:MOST_HALF_OPEN",
        "its packets are dropped and counted",
        "system/test_host_connections.py::test_half_open_connections_end_and_others_are_served",
    ),
    Bound(
        "octets of a target",
        "dataplane.bounds:Bounds.target_bytes",
        "414",
        "unit/dataplane/test_request_reader.py::test_unacceptable_bytes_are_refused_and_close",
    ),
    Bound(
        "octets of a head",
        "dataplane.bounds:Bounds.head_bytes",
        "431",
        "unit/dataplane/test_request_reader.py::test_unacceptable_bytes_are_refused_and_close",
    ),
    Bound(
        "headers of a request",
        "dataplane.bounds:Bounds.header_count",
        "431",
        "unit/dataplane/test_request_reader.py::test_unacceptable_bytes_are_refused_and_close",
    ),
    Bound(
        "octets of a body",
        "dataplane.bounds:Bounds.body_bytes",
        "413",
        "unit/dataplane/test_request_reader.py::test_unacceptable_bytes_are_refused_and_close",
    ),
    Bound(
        "octets that are read behind a refusal",
        "dataplane.response_writer:_LINGER_BYTES",
        "the connection ends",
        "unit/dataplane/test_reactor.py::test_dropped_input_is_bounded",
    ),
    Bound(
        "unsent responses of a connection",
        "",
        "nothing more is read",
        "unit/dataplane/test_response_writer.py::test_unsent_output_is_one_response_at_most",
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
        "dataplane.bounds:Bounds.unknown_callers",
        "counted together",
        "unit/dataplane/test_dispatcher.py::test_unknown_callers_are_counted_up_to_a_bound",
    ),
    Bound(
        "connections of the listener for metrics",
        "admin.metrics_listener:MOST_CONNECTIONS",
        "a newcomer is closed and counted",
        "unit/admin/test_metrics_listener.py::test_connections_are_bounded_and_the_refused_counted",
    ),
    Bound(
        "VMs with counters of their own in the metrics",
        "dataplane.busiest:MOST_COUNTED",
        "counted together; each minute busier ones take the place of quieter ones",
        "unit/dataplane/test_busiest.py::test_first_vms_are_counted_and_later_ones_summed",
    ),
    Bound(
        "further VMs that are compared with them in a minute",
        "dataplane.busiest:MOST_CANDIDATES",
        "those that come later are compared in the next one",
        "unit/dataplane/test_busiest.py::test_churn_of_vms_grows_no_memory",
    ),
    Bound(
        "unpacked VMs",
        "fleet.vm_entry:MOST_RECENT",
        "the oldest is packed again",
        "unit/fleet/test_vm_entry.py::test_only_the_most_recent_vms_stay_unpacked",
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
        "tokens that control renews for VMs of a host",
        "credentials.remote.asked_tokens:MAX_ASKED",
        "the one asked for longest ago goes",
        "unit/credentials/remote/test_asked_tokens.py"
        "::test_tokens_of_all_vms_are_bounded_and_the_eldest_goes",
    ),
    Bound(
        "requests of a host for tokens of control, under way",
        "credentials.remote.control_tokens:MOST_UNDER_WAY",
        "the request waits",
        "unit/credentials/remote/test_control_tokens.py"
        "::test_requests_under_way_are_bounded_and_vms_take_turns",
    ),
    Bound(
        "such requests of a VM that wait",
        "credentials.remote.control_tokens:MOST_PER_VM",
        "429",
        "unit/credentials/remote/test_control_tokens.py::test_waiting_requests_of_a_vm_are_bounded",
    ),
    Bound(
        "such requests of all VMs that wait",
        "credentials.remote.control_tokens:MOST_WAITING",
        "429 for the VM that has most",
        "unit/credentials/remote/test_control_tokens.py"
        "::test_full_queue_refuses_the_vm_that_has_most",
    ),
    Bound(
        "results that control makes for guests of a host, under way",
        "credentials.remote.host_credentials:MOST_FORWARDED",
        "429",
        "unit/credentials/remote/test_host_credentials.py::test_requests_to_control_are_bounded",
    ),
    Bound(
        "such results for a VM",
        "credentials.remote.host_credentials:MOST_PER_VM",
        "429",
        "unit/credentials/remote/test_host_credentials.py"
        "::test_requests_of_one_vm_leave_places_to_others",
    ),
    Bound(
        "VMs whose secrets control gave to a host",
        "credentials.remote.given_secrets:MAX_SECRETS",
        "the longest known goes",
        "unit/credentials/remote/test_given_secrets.py::test_secrets_are_bounded",
    ),
    Bound(
        "leaves of a host that is not control",
        "credentials.remote.host_leaves:MAX_LEAVES",
        "the oldest goes; further wanted ones are asked for with their first document",
        "unit/credentials/remote/test_host_leaves.py::test_leaves_of_a_host_are_bounded",
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
        "leaves of hosts, in all",
        "credentials.pki.host_leaf_register:MAX_HOST_ENTRIES",
        "no host gets a further leaf",
        "unit/credentials/pki/test_host_leaf_register.py"
        "::test_register_holds_two_leaves_of_5000_hosts_in_four_regions",
    ),
    Bound(
        "valid leaves of one host",
        "credentials.pki.host_leaf_register:MAX_KEPT_PER_HOST",
        "the host gets no further leaf",
        "unit/credentials/pki/test_host_leaf_issuer.py"
        "::test_host_gets_no_leaf_that_could_not_be_revoked",
    ),
    Bound(
        "leaves of one host with those that are revoked",
        "credentials.pki.host_leaf_register:MAX_NOTED_PER_HOST",
        "the host gets no further leaf",
        "unit/credentials/pki/test_host_leaf_register.py"
        "::test_host_with_many_revoked_leaves_waits_for_their_end",
    ),
    Bound(
        "files of tokens on a host",
        "credentials.remote.kept_tokens:SHARDS",
        "each has the tokens of several VMs",
        "unit/credentials/remote/test_kept_tokens.py::test_turn_writes_some_files_alone",
    ),
    Bound(
        "octets of a file of tokens",
        "credentials.remote.kept_tokens:MAX_SHARD_BYTES",
        "further tokens are in memory alone",
        "unit/credentials/remote/test_kept_tokens.py::test_files_are_bounded",
    ),
    Bound(
        "connections of one host at the port for hosts",
        "server.hosts.port:MOST_PER_HOST",
        "a further one is cut",
        "unit/server/hosts/test_fleet_of_hosts.py::test_one_host_takes_few_connections",
    ),
    Bound(
        "messages of a host that control answers at the same time",
        "server.hosts.port:MOST_MESSAGES",
        "no further one is read",
        "unit/server/hosts/test_message_bounds.py::test_caller_has_few_messages_under_way",
    ),
    Bound(
        "those of a caller without a certificate",
        "server.hosts.port:MOST_UNPROVEN_MESSAGES",
        "no further one is read",
        "unit/server/hosts/test_message_bounds.py::test_caller_has_few_messages_under_way",
    ),
    Bound(
        "requests of a VM that control reads from its host",
        "server.hosts.hosts_recording:MOST_RECORDS",
        "the oldest are shown",
        "unit/server/hosts/test_hosts_recording.py::test_requests_of_a_vm_are_read_from_its_host",
    ),
    Bound(
        "handshakes under way at the port for hosts",
        "server.hosts.handshakes:MOST_HANDSHAKES",
        "the oldest silent one ends, else one that is slow, else the newcomer",
        "unit/server/hosts/test_handshakes.py::test_flood_of_silent_connections_keeps_no_host_out",
    ),
    Bound(
        "those of one address or IPv6 network",
        "server.hosts.handshakes:MOST_PER_SOURCE",
        "the same, among its own",
        "unit/server/hosts/test_handshakes.py::test_handshakes_of_one_source_leave_those_of_others",
    ),
    Bound(
        "reviews of service-account tokens under way",
        "server.hosts.vouching:MOST_REVIEWS",
        "the token waits",
        "unit/server/hosts/test_vouching.py::test_reviews_under_way_and_waiting_are_bounded",
    ),
    Bound(
        "tokens that wait for their review, or are in one",
        "server.hosts.vouching:MOST_WAITING",
        "refused, and the host comes again",
        "unit/server/hosts/test_vouching.py::test_reviews_under_way_and_waiting_are_bounded",
    ),
    Bound(
        "octets of an answer of the Kubernetes API to control",
        "server.hosts.vouching:ANSWER_BYTES",
        "the API counts as away",
        "unit/server/hosts/test_vouching.py::test_failing_api_lets_nobody_in_and_blames_nobody",
    ),
    Bound(
        "counts of addresses with refused service-account tokens or other texts",
        "server.hosts.vouching:MOST_SOURCES",
        "the one refused longest ago is forgotten",
        "unit/server/hosts/test_vouching.py::test_addresses_and_refused_tokens_are_bounded",
    ),
    Bound(
        "refused service-account tokens that are remembered by their hashes",
        "server.hosts.vouching:MOST_REFUSED",
        "the one refused longest ago is forgotten",
        "unit/server/hosts/test_vouching.py::test_addresses_and_refused_tokens_are_bounded",
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
        "cached OCSP responses about leaves of hosts",
        "credentials.pki.ocsp_responses:MAX_HOST_RESPONSES",
        "the one not asked for longest goes",
        "unit/credentials/pki/test_host_leaf_register.py"
        "::test_responses_on_leaves_of_hosts_are_bounded",
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

_HOSTS = (
    Bound(
        "hosts in the register, and series of each metric of hosts",
        "credentials.hosts.register:MAX_HOSTS",
        "a new one is refused with the command to type",
        "unit/credentials/hosts/test_register.py::test_hosts_are_bounded_after_pruning",
    ),
    Bound(
        "live certificates of a host",
        "credentials.hosts.register:MAX_CERTIFICATES",
        "the oldest that it does not present ends",
        "unit/credentials/hosts/test_register.py::test_certificates_of_a_host_are_bounded",
    ),
    Bound(
        "counted further uses of a join token",
        "credentials.hosts.register:MAX_REUSES",
        "refused, and no longer counted",
        "unit/credentials/hosts/test_register.py::test_counted_uses_are_bounded",
    ),
    Bound(
        "octets of a host's certificate request",
        "credentials.hosts.host_certificates:MAX_CSR_BYTES",
        "refused",
        "unit/credentials/hosts/test_hosts_ca.py::test_unreadable_and_huge_requests_are_refused",
    ),
    Bound(
        "replaced roots of hosts, and certificates of their successors",
        "credentials.hosts.authority:MAX_OLD",
        "the oldest is dropped",
        "unit/credentials/hosts/test_hosts_ca.py::test_replaced_roots_are_bounded",
    ),
    Bound(
        "characters of a join token",
        "credentials.hosts.join_token:MAX_TOKEN_CHARACTERS",
        "refused",
        "unit/credentials/hosts/test_join_token.py::test_endless_line_is_refused",
    ),
    Bound(
        "characters of a service-account token",
        "credentials.hosts.service_accounts:MAX_TOKEN_CHARACTERS",
        "refused without a review",
        "unit/credentials/hosts/test_service_accounts.py"
        "::test_only_a_text_in_the_form_of_a_token_reaches_the_api",
    ),
    Bound(
        "octets of a host's file of control's fingerprints",
        "credentials.hosts.pod_files:MAX_FINGERPRINT_BYTES",
        "refused, and read again at the next attempt",
        "unit/credentials/hosts/test_pod_files.py::test_file_without_fingerprints_is_an_error",
    ),
    Bound(
        "octets of key files in the store",
        "credentials.keys.mirror:MAX_MIRRORED_BYTES",
        "the file is not written",
        "unit/credentials/keys/test_mirror.py::test_key_files_are_bounded",
    ),
)

_OPERATORS = (
    Bound(
        "sessions of the page in the browser",
        "admin.page.sessions:MOST_SESSIONS",
        "the oldest of the token that has the most ends",
        "unit/admin/page/test_sessions.py::test_full_table_drops_of_the_token_with_most",
    ),
    Bound(
        "sessions of one token",
        "admin.page.sessions:MOST_OF_TOKEN",
        "its oldest one ends",
        "unit/admin/page/test_sessions.py::test_token_with_many_sessions_loses_its_oldest",
    ),
    Bound(
        "fields of a form of the page",
        "admin.page.session_gate:MOST_FIELDS",
        "400",
        "unit/admin/page/test_frame.py::test_body_that_is_no_form_is_refused",
    ),
    Bound(
        "connections of the admin port; of the public port",
        "server.file_budget:MOST_PORT_CONNECTIONS",
        "a newcomer gets the place of the largest holder's oldest idle one, or is closed",
        "unit/admin/test_connection_shares.py::test_newcomer_gets_the_place_of_the_largest_holder",
    ),
    Bound(
        "handshakes of TLS under way",
        "admin.handovers:MOST_HANDSHAKES",
        "a newcomer gets the place of the oldest one of the address that has most",
        "unit/admin/test_lazy_server.py::test_newcomer_gets_the_place_of_the_oldest_handshake",
    ),
    Bound(
        "tokens of the admin API that operators have made",
        "admin.token_registry:MOST_TOKENS",
        "409",
        "unit/admin/test_token_registry.py::test_tokens_have_a_bound",
    ),
    Bound(
        "octets of a body of the admin API",
        "admin.auth:MOST_BODY_BYTES",
        "413",
        "unit/admin/test_app.py::test_refusal_has_one_shape_and_changes_nothing",
    ),
    Bound(
        "VMs in one request that changes many",
        "admin.handlers.vm_batches:MOST_VMS",
        "422",
        "unit/admin/handlers/test_vm_batches.py::test_bad_part_changes_nothing",
    ),
    Bound(
        "octets of the VMs in one such request, and of changes that are stored together",
        "fleet.edits:MOST_BYTES",
        "422; single changes are stored apart",
        "unit/fleet/test_edits.py::test_large_batch_is_refused_and_a_large_edit_is_not",
    ),
    Bound(
        "changes that are stored together",
        "fleet.edits:MOST_TOGETHER",
        "the next ones wait for the next write",
        "unit/fleet/test_edits.py::test_edits_that_wait_are_one_batch",
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
        "octets of a store of an earlier release that is served from memory, on a full disk",
        "fleet.store.kept:MOST_COPIED_BYTES",
        "the start is refused",
        "unit/fleet/store/test_kept.py::test_large_older_store_is_not_read_into_memory",
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
        "scopes without events and VMs, beyond as many as there are events and VMs",
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
        "faults whose VMs have all left a host, with their counts",
        "server.seam.fault_states:MOST_FAULTS",
        "the oldest is forgotten",
        "unit/server/hosts/test_host_faults.py::test_faults_that_are_not_played_are_forgotten",
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

_LOG = (
    Bound(
        "lines of the log that wait for a reader of stderr",
        "log.writer:MOST_LINES",
        "further lines are dropped and counted",
        "unit/log/test_writer.py::test_pipe_that_nobody_reads_does_not_hold_up_its_end",
    ),
    Bound(
        "lines that wait when a request of the access log comes",
        "log.writer:MOST_ACCESS_LINES",
        "the request is left out and counted",
        "unit/server/test_access_log.py::test_full_queue_drops_requests_but_takes_messages",
    ),
    Bound(
        "octets of a line of the log",
        "log.formats:MOST_LINE_BYTES",
        "its last fields are left out",
        "unit/log/test_formats.py::test_long_line_loses_its_last_fields",
    ),
)

BOUNDS: dict[str, tuple[Bound, ...]] = {
    "Of guests": _GUESTS,
    "Of keys, tokens and certificates": _CREDENTIALS,
    "Of hosts": _HOSTS,
    "Of operators and the store": _OPERATORS,
    "Between the two processes": _SEAM,
    "Of the log": _LOG,
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
