//! What a web application sees of sessions: headers, statuses, and requests that overlap. One suite, over real sockets, for every
//! framework.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

#[cfg(feature = "actix")]
mod actix;
mod app;
mod axum;
mod client;
mod commits;
mod failures;
mod freshness;
mod guards;
mod headers;
mod refusals;
#[path = "../support/mod.rs"]
mod support;

/// Every case with every framework. One that is not listed is dead code.
macro_rules! suite {
    ($($module:ident: $($case:ident)*;)*) => {
        mod with_axum {
            $($(
                #[tokio::test]
                async fn $case() {
                    crate::$module::$case::<crate::axum::Axum>().await;
                }
            )*)*
        }

        #[cfg(feature = "actix")]
        mod with_actix {
            $($(
                #[tokio::test]
                async fn $case() {
                    crate::$module::$case::<crate::actix::Actix>().await;
                }
            )*)*
        }
    };
}

suite! {
    commits:
        the_session_is_committed_once
        a_rotation_is_committed_whatever_the_status_is
        a_write_after_a_rotation_does_not_drop_it
        a_token_that_was_replaced_just_now_is_answered_without_a_cookie
        a_slow_request_does_not_undo_a_logout
        a_slow_request_does_not_replace_the_token_of_a_login
        a_commit_in_mid_request_sends_one_cookie
        a_destroy_in_mid_request_is_the_last_word
        an_update_in_mid_request_counts_exactly_and_sends_one_cookie
        an_update_that_was_given_up_is_not_saved_with_the_request
        a_commit_in_mid_request_does_not_replace_the_token_of_a_login
        a_remembered_session_gets_a_cookie_that_lasts;
    failures:
        a_store_that_is_down_is_a_503
        a_commit_that_failed_is_a_503_and_not_a_success
        data_that_does_not_fit_into_the_cookie_is_a_413_that_names_both_sizes
        a_field_that_two_requests_must_not_change_makes_the_later_answer_a_409
        a_logout_that_failed_says_so_and_leaves_the_cookie
        a_logout_with_an_old_token_ends_the_session_or_says_so
        a_session_that_ended_while_a_handler_ran_is_a_401
        a_handler_outside_the_layer_is_told
        the_cookie_of_a_commit_is_sent_although_the_last_commit_fails
        a_logout_stands_although_the_last_commit_fails
        a_token_that_is_owed_is_sent_although_the_store_fails_afterwards
        binding_to_an_unknown_address_is_a_clear_error
        half_of_a_change_is_not_saved;
    freshness:
        a_route_says_how_fresh_its_sessions_are
        a_guard_makes_no_route_less_fresh;
    guards:
        visitors_who_are_not_signed_in_are_turned_away
        a_protected_route_loads_the_session_once
        a_nested_router_is_protected_by_its_whole_path
        a_sign_in_page_with_a_query_is_open_itself
        a_sign_in_of_long_ago_is_not_fresh
        a_forwarded_address_counts_only_from_trusted_proxies
        requests_of_other_origins_are_refused;
    headers:
        an_untouched_route_costs_nothing_and_gets_no_headers
        a_read_is_private_and_varies_by_cookie
        every_access_is_marked
        a_write_sets_the_cookie_and_forbids_caching
        what_the_handler_says_about_caching_is_kept_where_it_may_be
        cookies_in_two_header_fields_are_read
        a_flash_message_survives_a_redirect_and_shows_once
        a_streaming_body_is_not_held_up
        an_upgrade_passes_with_what_belongs_to_it
        two_layers_with_different_data_stand_side_by_side;
    refusals:
        every_refused_cookie_is_answered_alike;
}
