"""Each defect of the Rust original has tests that prove that this library does not have it.

The defects were found by reading `rexecutor` and `rexecutor-sqlx`. The tests of the suite run on every backend because
a backend subclasses it, most of the others because of the `backend` fixture.
"""

import re
from pathlib import Path
from typing import Final

import pytest

from rexecutor.testing import BackendSuite

TESTS: Final = Path(__file__).parents[1]

PROOFS: Final[dict[str, tuple[str, ...]]] = {
    "nobody rescues the jobs of a node that died": ("test_a_job_whose_node_died_runs_on_another",),
    "an outcome that is not recorded is only logged": ("test_an_outcome_that_is_not_recorded_is_delivered_again",),
    "outcomes and cancels have no fence": (
        "test_a_cancel_leaves_an_ended_job_as_it_is",
        "test_a_late_outcome_overwrites_no_newer_attempt",
        "test_a_late_success_does_not_make_a_cancelled_job_complete",
        "test_a_cancel_leaves_a_complete_job_complete",
    ),
    "a rerun of a running job": (
        "test_only_an_ended_job_is_rerun",
        "test_a_waiting_job_is_not_rerun",
        "test_a_running_job_is_not_rerun",
    ),
    "a job that does not decode executes for ever": (
        "test_data_of_another_type_is_an_error_that_names_executor_and_type",
        "test_a_job_that_cannot_be_decoded_has_failed_and_does_not_run_for_ever",
    ),
    "a number out of range in one row stops the executor": (
        "test_a_priority_out_of_range_is_refused_at_once",
        "test_attempts_out_of_range_are_refused_at_once",
        "test_max_attempts_out_of_range_are_refused",
        "test_numbers_that_no_enqueue_lets_through_stop_no_node",
    ),
    "a backoff or a timeout that panics stops the executor": (
        "test_a_wait_beyond_all_bounds_is_the_longest",
        "test_no_strategy_raises_or_leaves_its_bounds_jitter_included",
        "test_a_backoff_or_a_timeout_that_raises_costs_an_attempt_at_most",
    ),
    "exponential backoff that does not grow, or is none": (
        "test_an_exponential_wait_from_one_second_grows",
        "test_an_exponential_wait_from_half_a_second_is_not_truncated",
    ),
    "the listener dies of what it hears, or of a lost connection": (
        "test_hints_that_fail_end_no_claims",
        "test_garbage_at_the_doorbell_does_no_harm",
    ),
    "listeners are kept for ever, and warn of strangers' jobs": (
        "test_jobs_that_others_run_are_not_worth_a_line",
        "test_who_waits_no_more_is_forgotten",
    ),
    "the key that is stored is not the one that is looked for": (
        "test_a_key_is_found_by_a_later_enqueue_with_it",
        "test_a_key_is_found_whatever_the_other_criteria_were",
    ),
    "the lock of a uniqueness check depends on its statuses": (
        "test_order_and_repetition_of_statuses_make_no_difference",
        "test_order_and_set_of_the_statuses_do_not_part_jobs",
    ),
    "check and insert are not one step": (
        "test_beats_in_another_thread_leave_the_work_alone",
        "test_racing_enqueues_add_exactly_one",
        "test_racing_enqueues_of_two_backends_add_exactly_one",
        "test_a_job_is_replaced_in_the_chosen_statuses_and_keeps_its_status",
    ),
    "backends disagree about keys and windows": (
        "test_without_a_key_jobs_with_and_without_one_stand_in_the_way",
        "test_the_window_is_around_the_new_jobs_due_time_and_both_ends_count",
        "test_a_job_due_far_from_now_is_not_in_the_window_of_one_that_is_due_now",
    ),
    "keys are short hashes that can be forged": (
        "test_it_is_the_256_bit_digest_of_canonical_json",
        "test_it_is_the_same_in_another_process",
        "test_keys_are_compared_as_json_values",
    ),
    "each node enqueues each tick": (
        "test_many_nodes_enqueue_one_job_a_tick",
        "test_two_nodes_take_each_tick_once",
        "test_looks_at_the_same_moment_take_a_tick_once",
        "test_a_tick_is_not_held_up_by_the_job_of_the_one_before",
    ),
    "missed ticks are lost, others repeated": (
        "test_a_node_that_starts_again_runs_the_latest_missed_tick",
        "test_a_clock_that_is_set_back_repeats_no_tick",
        "test_a_clock_that_leaps_makes_up_for_the_newest_tick",
        "test_a_schedule_that_has_changed_repeats_no_tick_though_the_clock_was_set_back",
    ),
    "two schedules double an executor's concurrency": (
        "test_several_schedules_share_one_executor",
        "test_the_concurrency_of_an_executor_with_two_schedules_is_one_limit",
    ),
    "a shutdown does not wait for running jobs": ("test_a_shutdown_has_ended_only_when_the_running_jobs_have",),
    "a claim in flight at the shutdown is lost": ("test_what_a_claim_brings_during_a_shutdown_goes_back_unharmed",),
    "more jobs are claimed than can run": ("test_no_more_jobs_are_claimed_than_can_run",),
    "one job a claim; a busy loop in an outage, or before a job of the future": (
        "test_a_claim_takes_as_many_jobs_as_there_are_slots",
        "test_a_job_of_the_future_is_awaited_in_peace",
        "test_an_outage_is_no_busy_loop_and_two_events",
    ),
    "the claim sorts the backlog": ("test_what_a_worker_does_all_day_walks_an_index_and_sorts_nothing",),
    "moments are off by the session's time zone": (
        "test_the_time_zone_of_the_process_moves_nothing",
        "test_a_moment_of_any_zone_comes_back_in_utc",
    ),
    "jobs start early, by the client's clock": (
        "test_a_delay_counts_from_the_enqueue_on_the_stores_clock",
        "test_a_job_is_due_at_its_moment_and_not_a_microsecond_before",
    ),
    "`and` and `or` without parentheses": (
        "test_groups_of_two_kinds_stay_apart",
        "test_an_or_within_an_and_does_not_reach_beyond_it",
        "test_an_or_beside_an_and_reaches_no_further_than_its_parentheses",
    ),
    "several ids never match": (
        "test_one_of_several_ids_matches",
        "test_one_of_several_ids_is_found",
        "test_no_values_find_nothing_and_no_parts_what_is_neutral",
    ),
    "one bad row fails the whole query": (
        "test_a_job_that_cannot_be_decoded_is_left_out_with_a_warning",
        "test_a_corrupt_row_fails_no_query",
    ),
    "pruning by length counts all executors together": (
        "test_so_many_are_kept_of_each_executor",
        "test_the_newest_of_each_executor_are_kept",
        "test_where_there_are_no_more_than_are_kept_nothing_is_deleted",
    ),
    "running jobs are pruned, and by the wrong moment": (
        "test_age_counts_from_the_end_and_the_age_itself_is_not_beyond_it",
        "test_an_open_job_is_never_prunable",
        "test_only_ended_jobs_can_be_meant",
        "test_jobs_that_ended_longer_ago_are_deleted",
        "test_the_due_time_does_not_matter",
        "test_a_job_that_has_not_ended_is_never_deleted",
    ),
    "every node prunes, all at once": (
        "test_one_node_prunes_at_a_time",
        "test_a_batch_deletes_no_more_than_asked_and_the_next_goes_on",
        "test_a_batch_takes_the_longest_ended_of_all_executors",
        "test_the_first_to_ask_does_the_duty_and_others_do_not",
    ),
    "fewer attempts than were had means endless retries": (
        "test_the_final_attempt_is_one_at_or_beyond_the_maximum",
        "test_a_job_beyond_its_last_attempt_is_discarded_too",
        "test_an_attempt_is_the_final_one_from_the_last_on",
        "test_a_job_whose_attempts_were_made_fewer_than_it_had_is_discarded",
        "test_fewer_attempts_than_there_were_make_the_next_failure_the_last",
    ),
    "a snooze is not counted, and may be negative": (
        "test_a_snooze_gives_the_attempt_back_and_is_counted",
        "test_a_snooze_is_counted_and_keeps_the_history_unambiguous",
        "test_a_snooze_into_the_past_is_refused",
    ),
    "ids end at 2,147,483,647": ("test_ids_go_on_beyond_two_thousand_million",),
    "backends disagree about order and updates": (
        "test_priority_comes_before_due_time_and_due_time_before_id",
        "test_the_status_and_the_history_are_never_updated",
        "test_a_job_that_has_not_ended_is_changed_and_keeps_its_status",
    ),
    "an error's text cannot be recorded, or grows for ever": (
        "test_a_job_keeps_the_last_errors_that_the_limits_allow",
        "test_an_error_of_any_text_is_recorded_and_neither_texts_nor_errors_grow_for_ever",
    ),
    "nothing tells of a slot that a hung thread holds": (
        "test_a_thread_that_does_not_end_holds_its_slot_and_is_told_of",
        "test_a_thread_that_does_not_end_holds_a_slot_of_the_node",
    ),
    "a cancel reaches no running job, but another executor's": (
        "test_another_executors_job_is_neither_cancelled_nor_rerun",
        "test_another_executors_job_is_not_found",
        "test_a_cancel_reaches_a_running_job_within_a_heartbeat",
        "test_a_job_of_another_executor_or_none_is_not_found",
    ),
    "no batches": ("test_a_batch_is_one_call_and_stored_as_a_whole_or_not_at_all",),
    "an update from a stale copy wins": (
        "test_another_version_is_stale",
        "test_each_change_that_leaves_a_job_open_makes_copies_stale",
        "test_a_stale_copy_is_refused",
        "test_another_version_is_refused_and_changes_nothing",
        "test_the_second_of_two_updates_of_one_copy_is_refused",
        "test_a_copy_from_before_a_claim_is_stale",
        "test_a_copy_from_before_an_outcome_is_stale",
        "test_a_copy_from_before_a_rescue_is_stale",
        "test_a_copy_from_before_a_cancel_was_asked_is_stale",
        "test_a_copy_from_before_a_rerun_is_stale",
        "test_a_copy_from_before_a_replacing_enqueue_is_stale",
    ),
    "tables and migrations clash with the application's": (
        "test_an_application_keeps_its_tables_and_its_migrations_in_the_same_file",
    ),
    "the driver's error is thrown away": (
        "test_the_drivers_exception_is_the_cause_of_ours",
        "test_what_a_constraint_refuses_is_told_as_what_it_is",
    ),
}
"""The tests that prove the absence of each defect."""


@pytest.fixture(scope="module")
def known() -> set[str]:
    """The names of all tests."""
    texts = [path.read_text(encoding="utf-8") for path in TESTS.glob("**/test_*.py")]
    return {name for text in texts for name in re.findall(r"def (test_\w+)", text)} | set(dir(BackendSuite))


@pytest.mark.parametrize("defect", PROOFS)
def test_each_defect_has_tests_that_prove_its_absence(known: set[str], defect: str) -> None:
    assert PROOFS[defect]
    assert set(PROOFS[defect]) <= known
