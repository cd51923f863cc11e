//! Laws that hold for whatever comes: tokens, merge, flash, expiry, cookies.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use core::time::Duration;

use common::{Seeded, at, one_in, secret};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Map, Value, json};
use session_core::{
    Expiry, Flash, KeyRing, Kind, MergePolicies, MergePolicy, Plaintext, TokenCodec, cookies, merge,
};

/// A codec from few names, kinds and keys, so that two of them are often alike in two of the three.
fn codecs() -> impl Strategy<Value = (u8, bool, &'static str)> {
    (0_u8..3, any::<bool>(), prop::sample::select(vec!["session", "sessio", "n", "__Host-session", ""]))
}

fn codec((key, reference, name): (u8, bool, &str)) -> TokenCodec {
    let kind = if reference { Kind::Reference } else { Kind::CookieHeld };
    TokenCodec::new(&KeyRing::new(&secret(key)), kind, name)
}

/// Bytes that compress and bytes that don't.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..600 / one_in(10)),
        (any::<u8>(), 0..2_000 / one_in(10)).prop_map(|(byte, length)| vec![byte; length]),
        vec(b'a'..=b'c', 0..1000 / one_in(10)),
    ]
}

fn seal(codec: &TokenCodec, payload: &[u8], expires: u64, deflate: bool, seed: u64) -> String {
    codec.seal(Plaintext::from(payload), at(expires), deflate, &Seeded::new(seed)).unwrap()
}

proptest! {
    #![proptest_config(common::laws())]

    #[test]
    fn what_was_sealed_opens(
        which in codecs(), payload in payloads(), expires in 1_u64.., deflate: bool, seed: u64, now: u64,
    ) {
        let codec = codec(which);
        let token = seal(&codec, &payload, expires, deflate, seed);
        match codec.open(token.as_bytes(), at(now)) {
            Ok(opened) => {
                prop_assert!(now < expires);
                prop_assert_eq!(opened.payload(), &payload[..]);
                prop_assert_eq!(opened.expires_at(), at(expires));
            }
            Err(reason) => {
                prop_assert!(now >= expires);
                prop_assert_eq!(reason.code(), "expired");
            }
        }
    }

    #[test]
    fn a_changed_token_never_opens(payload in payloads(), deflate: bool, seed: u64, place: Index, byte: u8, change in 0..5) {
        let codec = codec((0, false, "session"));
        let token = seal(&codec, &payload, 9, deflate, seed).into_bytes();
        let mut changed = token.clone();
        let place = place.index(token.len());
        match change {
            0 => changed[place] = byte,
            1 => { changed.remove(place); }
            2 => changed.insert(place, byte),
            3 => changed.push(byte),
            _ => changed.truncate(place),
        }
        prop_assume!(changed != token);
        prop_assert!(codec.open(&changed, at(0)).is_err());
    }

    #[test]
    fn a_token_opens_for_one_name_kind_and_key_alone(sealer in codecs(), opener in codecs(), payload in payloads(), seed: u64) {
        let token = seal(&codec(sealer), &payload, 9, false, seed);
        prop_assert_eq!(codec(opener).open(token.as_bytes(), at(0)).is_ok(), sealer == opener);
    }
}

/// Trees of few field names and values, so that both sides often touch the same.
fn trees() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), (0..3).prop_map(Value::from), vec(0..2, 0..3).prop_map(Value::from)];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop::collection::btree_map("[abc]", inner, 0..4)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()))
    })
}

fn objects() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[abc]", trees(), 0..4)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

/// `tree` with changes below the field `name` alone.
fn with_field(tree: &Value, name: &str, value: Option<&Value>) -> Value {
    let mut fields = tree.as_object().cloned().unwrap_or_default();
    match value {
        Some(value) => fields.insert(name.to_owned(), value.clone()),
        None => fields.remove(name),
    };
    Value::Object(fields)
}

proptest! {
    #![proptest_config(common::laws())]

    #[test]
    fn without_a_change_of_mine_theirs_stays(base in trees(), theirs in trees()) {
        prop_assert_eq!(merge(&base, &base, theirs.clone()), theirs);
    }

    #[test]
    fn without_a_change_of_theirs_mine_is_the_result(base in trees(), mine in trees()) {
        prop_assert_eq!(merge(&base, &mine, base.clone()), mine);
    }

    #[test]
    fn the_same_change_twice_is_the_change(base in trees(), mine in trees()) {
        prop_assert_eq!(merge(&base, &mine, mine.clone()), mine);
    }

    #[test]
    fn merging_twice_is_merging_once(base in trees(), mine in trees(), theirs in trees()) {
        let once = merge(&base, &mine, theirs);
        prop_assert_eq!(merge(&base, &mine, once.clone()), once);
    }

    #[test]
    fn changes_of_different_fields_commute(
        base in objects(), one in prop::option::of(trees()), two in prop::option::of(trees()), deep: bool,
    ) {
        // At the top, or one level down in a field that both sides keep.
        let nest = |tree: Value| if deep { json!({"in": tree, "x": 1}) } else { tree };
        let first = with_field(&base, "a", one.as_ref());
        let second = with_field(&base, "b", two.as_ref());
        let both = with_field(&first, "b", two.as_ref());
        let (base, first, second, both) = (nest(base), nest(first), nest(second), nest(both));
        prop_assert_eq!(&merge(&base, &first, second.clone()), &both);
        prop_assert_eq!(&merge(&base, &second, first), &both);
    }

    #[test]
    fn fields_that_only_they_know_survive(base in objects(), mine in objects(), theirs in objects(), unknown in trees()) {
        let theirs = with_field(&theirs, "unknown", Some(&unknown));
        let merged = merge(&base, &mine, theirs);
        prop_assert_eq!(merged.get("unknown"), Some(&unknown));
    }

    #[test]
    fn every_value_comes_from_one_of_the_three(base in trees(), mine in trees(), theirs in trees()) {
        fn leaves<'a>(tree: &'a Value, found: &mut Vec<&'a Value>) {
            match tree.as_object().filter(|fields| !fields.is_empty()) {
                Some(fields) => fields.values().for_each(|value| leaves(value, found)),
                None => found.push(tree),
            }
        }
        let merged = merge(&base, &mine, theirs.clone());
        let (mut known, mut found) = (Vec::new(), Vec::new());
        leaves(&mine, &mut known);
        leaves(&theirs, &mut known);
        leaves(&merged, &mut found);
        let empty = Value::Object(Map::new()); // where both sides removed what the other kept
        prop_assert!(found.iter().all(|leaf| known.contains(leaf) || **leaf == empty));
    }
}

const POLICIES: [MergePolicy; 6] = [
    MergePolicy::Mine,
    MergePolicy::Theirs,
    MergePolicy::Fail,
    MergePolicy::Max,
    MergePolicy::Sum,
    MergePolicy::Union,
];

/// Policies of some of the fields of [`trees`].
fn policies() -> impl Strategy<Value = MergePolicies> {
    let path = prop::sample::select(vec!["a", "b", "c", "a.b", "a.c", "b.a", "a.b.c"]);
    vec((path, prop::sample::select(POLICIES.to_vec())), 0..5).prop_map(|declared| {
        declared.into_iter().fold(MergePolicies::new(), |all, (path, policy)| all.field(path, policy))
    })
}

/// Small integers, large ones, and floats whose sums are exact.
fn numbers() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-9_i64..9).prop_map(Value::from),
        (-(1_i64 << 60)..1 << 60).prop_map(Value::from),
        (-64_i32..64).prop_map(|eighths| json!(f64::from(eighths) / 8.0)),
    ]
}

/// Arrays without duplicates: as a program writes sets.
fn sets() -> impl Strategy<Value = Value> {
    prop::collection::btree_set(0..6, 0..5).prop_map(|set| set.into_iter().collect())
}

/// Changed by two requests: what the one stores that comes second, whichever that is.
fn in_both_orders(policy: MergePolicy, base: &Value, one: &Value, two: &Value) -> [Value; 2] {
    let nest = |tree: &Value| json!({"in": {"f": tree}, "x": 1});
    let policies = MergePolicies::new().field("in", policy);
    let (base, one, two) = (nest(base), nest(one), nest(two));
    [(&one, &two), (&two, &one)]
        .map(|(first, second)| policies.merge(&base, second, first.clone()).unwrap()["in"]["f"].clone())
}

fn as_f64(number: &Value) -> f64 {
    number.as_f64().unwrap()
}

fn elements(array: &Value) -> std::collections::BTreeSet<i64> {
    array.as_array().unwrap().iter().map(|element| element.as_i64().unwrap()).collect()
}

proptest! {
    #![proptest_config(common::laws())]

    #[test]
    fn under_any_policy_a_change_that_is_alone_is_taken(
        policies in policies(), base in trees(), changed in trees(),
    ) {
        prop_assert_eq!(policies.merge(&base, &base, changed.clone()), Ok(changed.clone()));
        prop_assert_eq!(policies.merge(&base, &changed, base.clone()), Ok(changed));
    }

    #[test]
    fn under_any_policy_changes_of_different_fields_commute(
        policies in policies(), base in objects(),
        one in prop::option::of(trees()), two in prop::option::of(trees()),
    ) {
        let first = with_field(&base, "a", one.as_ref());
        let second = with_field(&base, "b", two.as_ref());
        let both = with_field(&first, "b", two.as_ref());
        prop_assert_eq!(policies.merge(&base, &first, second.clone()), Ok(both.clone()));
        prop_assert_eq!(policies.merge(&base, &second, first), Ok(both));
    }

    #[test]
    fn without_a_sum_the_same_change_twice_is_the_change(
        policies in policies(), base in trees(), mine in trees(),
    ) {
        // Fail included: who agrees is in no conflict. (Sums of what these trees have are tested below.)
        prop_assume!(!format!("{policies:?}").contains("Sum"));
        prop_assert_eq!(policies.merge(&base, &mine, mine.clone()), Ok(mine));
    }

    #[test]
    fn theirs_is_mine_with_the_sides_exchanged(base in objects(), mine in objects(), theirs in objects()) {
        // At leaves, where nobody removes anything.
        let leaf = |tree: &Value| json!({"f": tree.to_string()});
        let (base, mine, theirs) = (leaf(&base), leaf(&mine), leaf(&theirs));
        let policies = MergePolicies::new().field("f", MergePolicy::Theirs);
        let exchanged = if theirs == base { &mine } else { &theirs };
        prop_assert_eq!(&policies.merge(&base, &mine, theirs.clone()).unwrap(), exchanged);
    }

    #[test]
    fn fail_fails_exactly_where_both_changed_and_differ(base in 0..3, mine in 0..3, theirs in 0..3) {
        let policies = MergePolicies::new().field("f", MergePolicy::Fail);
        let tree = |value: i32| json!({"f": value});
        let conflict = mine != base && theirs != base && mine != theirs;
        prop_assert_eq!(policies.merge(&tree(base), &tree(mine), tree(theirs)).is_err(), conflict);
    }

    #[test]
    fn sums_commute_and_count_every_change(base in numbers(), one in numbers(), two in numbers()) {
        let [there, back] = in_both_orders(MergePolicy::Sum, &base, &one, &two);
        let exact = as_f64(&one) + (as_f64(&two) - as_f64(&base));
        if let (Some(base), Some(one), Some(two)) = (base.as_i64(), one.as_i64(), two.as_i64()) {
            prop_assert_eq!(&there, &back);
            prop_assert_eq!(there, json!(one + two - base));
        } else {
            let bound = exact.abs().max(1e18) * f64::EPSILON * 4.0;
            prop_assert!((as_f64(&there) - exact).abs() <= bound && (as_f64(&back) - exact).abs() <= bound);
        }
    }

    #[test]
    fn maxima_commute_and_are_one_of_the_two(base in numbers(), one in numbers(), two in numbers()) {
        prop_assume!(one != base && two != base);
        let [there, back] = in_both_orders(MergePolicy::Max, &base, &one, &two);
        prop_assert!(there == one || there == two);
        prop_assert_eq!(as_f64(&there), as_f64(&back));
        prop_assert!(as_f64(&there) >= as_f64(&one) && as_f64(&there) >= as_f64(&two));
    }

    #[test]
    fn unions_commute_as_sets_and_know_removals(base in sets(), one in sets(), two in sets()) {
        let [there, back] = in_both_orders(MergePolicy::Union, &base, &one, &two);
        prop_assert_eq!(elements(&there), elements(&back));
        prop_assert_eq!(there.as_array().unwrap().len(), elements(&there).len(), "each once");
        let (base, one, two) = (elements(&base), elements(&one), elements(&two));
        let expected = (0..6).filter(|element| {
            let (before, in_one, in_two) = (base.contains(element), one.contains(element), two.contains(element));
            if before { in_one && in_two } else { in_one || in_two }
        });
        prop_assert_eq!(elements(&there), expected.collect());
    }
}

fn ages() -> impl Strategy<Value = (Expiry, u64)> {
    (1_000_u64..100_000, 0_u64..400_000, any::<bool>(), 0_u64..1_000_000).prop_map(
        |(idle, more, sliding, start)| {
            let expiry =
                Expiry::new(Duration::from_millis(idle), Duration::from_millis(idle + more)).unwrap();
            (expiry.sliding(sliding), start)
        },
    )
}

proptest! {
    #![proptest_config(common::laws())]

    #[test]
    fn touches_never_pass_the_absolute_end_never_revive_and_never_shorten(
        (expiry, start) in ages(), pauses in vec(0_u64..150_000, 0..40),
    ) {
        let end = expiry.absolute_end(at(start));
        let mut expires = expiry.expires_at(at(start), end);
        let (mut now, mut last_used) = (start, start);
        for pause in pauses {
            now += pause;
            let alive = at(now) < expires;
            if alive {
                last_used = now;
            }
            if let Some(extended) = expiry.extension(at(now), expires, end) {
                prop_assert!(alive && expiry.is_sliding(), "revived");
                prop_assert!(extended > expires, "shortened");
                prop_assert!(extended <= end, "beyond the absolute end");
                expires = extended;
            }
            // Never later than the idle timeout says, and at most a tenth of it sooner.
            let exact = expiry.expires_at(at(last_used), end);
            prop_assert!(expires <= exact);
            if expiry.is_sliding() && alive {
                prop_assert!(exact.since(expires) < expiry.idle() / 10);
            }
        }
    }

    #[test]
    fn no_time_is_too_late_to_compute_with((expiry, _) in ages(), now: u64, expires: u64, end: u64) {
        if let Some(extended) = expiry.extension(at(now), at(expires), at(end)) {
            prop_assert!(now < expires && extended > at(expires) && extended <= at(end));
        }
    }
}

/// What requests do to the flash. `None` for the value: remove.
#[derive(Clone, Debug)]
enum Step {
    Set(u8, u8),
    Keep(u8),
    KeepAll,
    Discard(u8),
    DiscardAll,
    ClearNow,
    Rotate,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u8..4, any::<u8>()).prop_map(|(key, message)| Step::Set(key, message)),
        1 => (0_u8..4).prop_map(Step::Keep),
        1 => Just(Step::KeepAll),
        1 => (0_u8..4).prop_map(Step::Discard),
        1 => Just(Step::DiscardAll),
        1 => Just(Step::ClearNow),
        3 => Just(Step::Rotate),
    ];
    vec(step, 0..30)
}

proptest! {
    #![proptest_config(common::laws())]

    /// The flash against the plainest model of it: two lists.
    #[test]
    fn flash_does_what_two_lists_do(steps in steps()) {
        type Messages = Vec<(String, String)>;
        fn put(list: &mut Messages, key: &str, message: &str) {
            match list.iter_mut().find(|(name, _)| name == key) {
                Some(entry) => entry.1 = message.to_owned(),
                None => list.push((key.to_owned(), message.to_owned())),
            }
        }
        let (mut flash, mut now, mut next) = (Flash::default(), Messages::new(), Messages::new());
        for step in steps {
            match step {
                Step::Set(key, message) => {
                    flash.set(key.to_string(), message.to_string());
                    put(&mut next, &key.to_string(), &message.to_string());
                }
                Step::Keep(key) => {
                    flash.keep(&key.to_string());
                    if let Some((key, message)) = now.iter().find(|(name, _)| *name == key.to_string()).cloned() {
                        put(&mut next, &key, &message);
                    }
                }
                Step::KeepAll => {
                    flash.keep_all();
                    now.iter().for_each(|(key, message)| put(&mut next, key, message));
                }
                Step::Discard(key) => {
                    flash.discard(&key.to_string());
                    next.retain(|(name, _)| *name != key.to_string());
                }
                Step::DiscardAll => { flash.discard_all(); next.clear(); }
                Step::ClearNow => { flash.clear_now(); now.clear(); }
                Step::Rotate => { flash.rotate(); now = core::mem::take(&mut next); }
            }
            let mut both = now.clone();
            both.extend(next.iter().filter(|(key, _)| now.iter().all(|(name, _)| name != key)).cloned());
            let found: Vec<_> = flash.iter().map(|(key, message)| (key.to_owned(), message.to_owned())).collect();
            prop_assert_eq!(&found, &both);
            prop_assert_eq!(flash.is_empty(), both.is_empty());
            for (key, message) in &both {
                prop_assert_eq!(flash.get(key), Some(message.as_str()));
            }
            let written = serde_json::to_string(&flash).unwrap();
            prop_assert_eq!(serde_json::from_str::<Flash>(&written).unwrap(), flash.clone());
        }
    }
}

/// What a Cookie header field is made of, so that the wanted name is often there, almost there, or in a value.
fn headers() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"id".to_vec()),
        Just(b"=".to_vec()),
        Just(b";".to_vec()),
        Just(b"; ".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"ID".to_vec()),
        Just(b"id=x".to_vec()),
        Just(b"\t".to_vec()),
        vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A pair as browsers send it.
fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    vec(
        (
            prop::sample::select(vec!["id", "ID", "idx", "a", "__Host-id"]).prop_map(String::from),
            "[!#-+\\--:<-\\[\\]-~]{0,12}",
        ),
        0..12,
    )
}

proptest! {
    #![proptest_config(common::laws())]

    #[test]
    fn the_values_found_are_those_in_the_header(pairs in pairs()) {
        let header = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let found: Vec<_> = cookies(header.as_bytes(), "id").collect();
        let there: Vec<_> =
            pairs.iter().filter(|(name, _)| name == "id").map(|(_, value)| value.as_bytes()).take(4).collect();
        prop_assert_eq!(found, there);
    }

    #[test]
    fn no_header_is_too_odd(header in headers()) {
        for value in cookies(&header, "id") {
            prop_assert!(!value.contains(&b';'));
            let inside = value.as_ptr() as usize - header.as_ptr() as usize;
            prop_assert_eq!(&header[inside..inside + value.len()], value);
        }
    }
}
