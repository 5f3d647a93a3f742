"""Which cases of a large matrix `make test-slow` runs; `make test-release` runs the others.

A matrix tries one mechanism in many settings. Continuous integration, which has an hour for
everything, takes the few that differ most. A case that is added is the release's.
"""

from dataclasses import dataclass, field

import pytest

IN_CI = {
    "cli/test_chat.py": {
        "test_in_a_terminal_ctrl_d_and_ctrl_c_end_cleanly": ("\\x04-0-you> ",),
    },
    "cli/test_compare.py": {
        "test_killed_in_the_middle_and_started_again_it_ends_with_the_same_table": ("responses",),
    },
    "cli/test_episodes_resumed.py": {
        "test_it_is_resumed_to_the_bit": ("in the second step",),
    },
    "core/dialects/test_every_dialect.py": {
        "test_a_megabyte_of_nothing_good_is_read_to_its_end": ("1000000-rlla",),
    },
    "engines/test_weighted_gradient.py": {
        "test_the_gradient_is_that_of_the_weighted_loss": ("dr_grpo", "luspo"),
    },
    "engines/trl/prefix/test_training.py": {
        "test_sharing_gives_what_single_rows_give": (
            "checkpointing in parts",
            "adapters",
        ),
        "test_parts_by_tokens_give_what_all_rows_give": ("dapo, on",),
    },
    "engines/trl/test_acting.py": {
        "test_a_resumed_run_is_a_straight_run_bitwise": ("more1",),
        "test_a_step_of_failed_episodes_alone_moves_nothing": ("call-hang", "reset-exit"),
        "test_any_sampler_plays_and_the_recipe_s_is_taken": ("generate-False",),
        "test_however_forwards_are_cut_the_parameters_are_the_same": ("more2",),
        "test_the_others_of_a_group_are_as_if_the_failed_were_not_there": ("turns",),
        "test_weights_of_each_turn_sum_to_its_tokens": ("rest*stare",),
    },
    "engines/trl/test_guards.py": {
        "test_a_number_that_is_none_is_left_out": ("gradient-loss or gradient",),
        "test_a_number_that_is_none_stops_the_run": (
            "gradient-loss or gradient",
            "parameter-parameter",
        ),
    },
    "engines/trl/test_hostile_runs.py": {
        "test_a_run_ends_in_time_and_says_what_happened": ("Threads", "Stopped", "Deep"),
    },
    "engines/trl/test_keys.py": {
        "test_the_learning_rate_follows_its_schedule": ("cosine-rates2",),
    },
    "engines/trl/test_objective.py": {
        "test_off_policy_it_acts_and_a_split_batch_is_the_whole_batch": ("own1",),
    },
    "engines/trl/test_processes.py": {
        "test_schemes_weigh_the_batch_of_all_processes": ("2",),
    },
    "engines/trl/test_sft.py": {
        "test_rows_without_padding_teach_the_same": ("tsft",),
    },
    "engines/trl/test_signal.py": {
        "test_sketches_are_of_the_gradients": ("more0", "more1"),
    },
    "engines/trl/test_trainer.py": {
        "test_a_resumed_run_is_a_straight_run_bitwise": ("more4",),
        "test_rollouts_carry_the_core_s_weights": ("online-inverse_score", "exact-collision"),
        "test_uniform_weights_are_grpo_bitwise": ("dapo-more1", "grpo-more3"),
    },
    "evaluate/bfcl/test_result_files.py": {
        "test_the_official_evaluation_agrees": ("v4",),
    },
    "evaluate/test_hostile_endpoint.py": {
        "test_a_signal_ends_it_in_seconds_and_answers_are_kept": ("silence-2", "429 for years-15"),
    },
    "evaluate/test_openai_backend.py": {
        "test_a_stopped_evaluation_goes_on_and_asks_nothing_twice": ("2",),
    },
    "export/test_prompts.py": {
        "test_prompts_of_an_exported_folder_are_those_of_the_run": ("6",),
    },
    "fuzz/test_checkpoints.py": {
        "test_an_evaluation_of_damaged_files_ends_with_a_line": ("cut",),
    },
    "fuzz/test_hostile_folders.py": {
        "test_a_hostile_policy_runs_nothing_and_ends": ("adapters",),
    },
    "fuzz/test_run_files.py": {
        "test_a_page_is_made_of_what_can_be_read": ("metrics.jsonl",),
        "test_rollouts_are_shown_or_named": (
            "evaluation/after.jsonl",
            "evaluation/x/failures.jsonl",
        ),
        "test_training_goes_on_or_names_the_file": ("metrics.jsonl",),
    },
    "io/test_terminal.py": {
        "test_work_goes_on_without_its_view": ("prepare->&- 2>&- <&-", "prepare-| head -0"),
        "test_work_outlives_its_terminal": ("train",),
    },
    "policy/test_checkpoints_as_had.py": {
        "test_adapters_are_trained_whole_or_with_new_ones_and_go_on_from_any_folder": ("peft",),
    },
    "runs/test_extension.py": {
        "test_killed_between_any_two_writes_it_goes_on": ("again0",),
    },
    "test_architectures.py": {
        "test_every_command_takes_it": ("gpt_oss",),
    },
    "test_printed.py": {
        "test_commands_run_as_they_are_printed": ("README.md",),
    },
    "test_starts.py": {
        "test_a_name_and_the_same_default_name_do_not_meet": ("before-never-2",),
        "test_default_names_never_meet": ("begun-2",),
    },
    "test_torture.py": {
        "test_killed_commands_end_as_undisturbed_ones": ("prepare",),
    },
}
"""Of a file under `tests/` and a test the cases that continuous integration runs."""

OF_THE_RELEASE = {
    "cli/test_train.py": (
        "test_a_run_that_was_stopped_can_be_extended_and_one_tried_before_goes_on",
    ),
    "engines/trl/test_bfcl_runs.py": (
        "test_training_is_evaluated_on_held_out_dialogues_by_the_official_simulators",
    ),
    "engines/trl/test_fsdp.py": (
        "test_a_policy_in_parts_trains_as_one_of_which_each_process_has_a_copy",
    ),
    "engines/trl/test_keys.py": ("test_metrics_go_to_each_reporter",),
    "engines/trl/test_processes.py": (
        "test_what_compares_tokens_of_the_batch_trains_alike_in_two_processes",
    ),
    "export/test_export.py": (
        "test_transformers_alone_gives_the_tokens_of_the_run",
        "test_the_policies_differ",
    ),
    "export/test_own_code.py": ("test_the_code_goes_with_the_policy",),
    "io/test_terminal.py": (
        "test_any_locale",
        "test_docstrings_that_are_left_out_are_what_is_blamed",
    ),
    "test_torture.py": ("test_of_two_who_begin_a_run_one_trains_to_its_end",),
}
"""Slow tests that it leaves out whole, as each takes minutes and others try the mechanism."""


@dataclass
class Tiers:
    """Names of the tests that were collected, from `tests/` on, before any was left out."""

    files: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    release: set[str] = field(default_factory=set)


def mark_release(items: list[pytest.Item]) -> Tiers:
    """Mark what is the release's; what there is of each tier."""
    found = Tiers()
    for item in items:
        whole = item.nodeid.removeprefix("tests/")
        test, _, case = whole.partition("[")
        file, _, name = test.partition("::")
        found.files.add(file)
        if not item.get_closest_marker("slow"):
            continue
        cases = IN_CI.get(file, {}).get(name)
        others = cases is not None and case.removesuffix("]") not in cases
        if others or name in OF_THE_RELEASE.get(file, ()):
            item.add_marker(pytest.mark.release)
            found.release.add(whole)
        else:
            found.slow.add(whole)
    return found
