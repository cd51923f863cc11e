//! The points of the contract of [`Query`].

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use session_native::{
    Key, Query, Store as _, SubjectTag,
    store::{Found, Lookup, Saved},
};

use crate::{
    Harness,
    support::{brief, create, key, load, load_with, next, record, subject},
};

/// Of a subject that nobody heard of.
pub async fn an_epoch_starts_at_zero<H: Harness<Store: Query>>(harness: H) {
    let subject = subject();
    assert_eq!(harness.store().epoch(&subject).await, Ok(0));
    let (key, record) = (key(), record(&harness, "x").of_subject(Some(subject)));
    create(&harness, &key, &record).await;
    assert_eq!(harness.store().epoch(&subject).await, Ok(0));
}

/// Revokes a subject, and gives its new epoch.
async fn revoke<H: Harness<Store: Query>>(harness: &H, subject: &SubjectTag) -> u64 {
    harness.store().revoke_subject(subject).await.expect("a revocation")
}

/// Whether the subject has sessions or not.
pub async fn revoking_moves_the_epoch_on<H: Harness<Store: Query>>(harness: H) {
    let (with, without) = (subject(), subject());
    create(&harness, &key(), &record(&harness, "x").of_subject(Some(with))).await;
    for subject in [&with, &without] {
        let mut before = 0;
        for _ in 0..3 {
            let epoch = revoke(&harness, subject).await;
            assert!(epoch > before, "{epoch} after {before}");
            assert_eq!(harness.store().epoch(subject).await, Ok(epoch));
            before = epoch;
        }
    }
}

/// The subject of the token, whatever the record says.
pub async fn a_load_sees_the_epoch_of_the_subject_it_asks_for<H: Harness<Store: Query>>(harness: H) {
    let (revoked, other) = (subject(), subject());
    let moved = revoke(&harness, &revoked).await;
    let key = key();
    create(&harness, &key, &record(&harness, "x").of_subject(Some(other))).await;
    for (asked, epoch) in [(None, 0), (Some(other), 0), (Some(revoked), moved)] {
        let lookup = Lookup { subject: asked, ..Lookup::default() };
        assert_eq!(load_with(&harness, &key, lookup).await.map(|found| found.epoch), Some(epoch));
    }
}

/// Eight tasks revoke one subject 50 times each: 400 different epochs.
pub async fn concurrent_revocations_all_count<H: Harness<Store: Query>>(harness: H) {
    let (harness, subject) = (Arc::new(harness), subject());
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let harness = Arc::clone(&harness);
            tokio::spawn(async move {
                let mut epochs = Vec::new();
                for _ in 0..50 {
                    epochs.push(harness.store().revoke_subject(&subject).await.expect("a revocation"));
                }
                epochs
            })
        })
        .collect();
    let mut epochs = BTreeSet::new();
    for task in tasks {
        let seen = task.await.expect("a task");
        assert!(seen.is_sorted(), "an epoch went back");
        epochs.extend(seen);
    }
    assert_eq!(epochs.len(), 400, "an epoch was given twice");
    assert_eq!(harness.store().epoch(&subject).await.ok(), epochs.last().copied());
}

/// Signing one user out signs nobody else out.
pub async fn revoking_leaves_other_subjects_alone<H: Harness<Store: Query>>(harness: H) {
    let (revoked, other) = (subject(), subject());
    let (theirs, nobodys) = (key(), key());
    create(&harness, &theirs, &record(&harness, "x").of_subject(Some(other))).await;
    create(&harness, &nobodys, &record(&harness, "y")).await;
    assert!(revoke(&harness, &revoked).await > 0);
    assert_eq!(harness.store().epoch(&other).await, Ok(0));
    assert!(load(&harness, &theirs).await.is_some() && load(&harness, &nobodys).await.is_some());
}

async fn listed<H: Harness<Store: Query>>(harness: &H, subject: &SubjectTag) -> Vec<(Key, Found)> {
    harness.store().by_subject(subject).await.expect("a listing")
}

async fn listed_keys<H: Harness<Store: Query>>(harness: &H, subject: &SubjectTag) -> BTreeSet<Key> {
    let listed = listed(harness, subject).await;
    let keys: BTreeSet<Key> = listed.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys.len(), listed.len(), "a record is listed twice");
    keys
}

/// Each of them, with what it holds, and no other's.
pub async fn a_listing_has_the_live_records_of_its_subject_alone<H: Harness<Store: Query>>(harness: H) {
    let subjects: [SubjectTag; 3] = core::array::from_fn(|_| subject());
    assert!(listed(&harness, &subjects[0]).await.is_empty());
    let mut filed: [BTreeSet<Key>; 3] = Default::default();
    for number in 0..60 {
        let (key, of) = (key(), number % 4);
        let record = record(&harness, number.to_string()).of_subject(subjects.get(of).copied());
        create(&harness, &key, &record).await;
        if let Some(filed) = filed.get_mut(of) {
            filed.insert(key);
        }
    }
    for (subject, filed) in subjects.iter().zip(filed) {
        assert_eq!(listed_keys(&harness, subject).await, filed);
        for (key, found) in listed(&harness, subject).await {
            assert_eq!(load(&harness, &key).await, Some(found.record));
        }
    }
}

/// Sign-in, change of user and sign-out are saves.
pub async fn a_listing_follows_a_change_of_subject<H: Harness<Store: Query>>(harness: H) {
    let (first, second, key) = (subject(), subject(), key());
    let mut current = record(&harness, "x");
    create(&harness, &key, &current).await;
    for of in [Some(first), Some(second), Some(second), None, Some(first)] {
        let saved = next(&current, "y").of_subject(of);
        assert_eq!(harness.store().save(&key, &saved, current.version).await, Ok(Saved::Stored));
        current = saved;
        for subject in [first, second] {
            let expected: BTreeSet<Key> = (of == Some(subject)).then_some(key).into_iter().collect();
            assert_eq!(listed_keys(&harness, &subject).await, expected);
        }
    }
    // A save that is refused files nothing.
    let late = next(&current, "z").of_subject(Some(second));
    let stranger = next(&current, "").version;
    let refused = harness.store().save(&key, &late, stranger).await;
    assert_eq!(refused, Ok(Saved::Conflict(current)));
    assert!(listed(&harness, &second).await.is_empty());
}

/// The index heals itself, and keeps what was touched.
pub async fn a_listing_forgets_deleted_and_expired_records<H: Harness<Store: Query>>(harness: H) {
    let subject = subject();
    let (deleted, expired, touched, stays) = (key(), key(), key(), key());
    for key in [&expired, &touched] {
        create(&harness, key, &brief(&harness, 10).of_subject(Some(subject))).await;
    }
    for key in [&deleted, &stays] {
        create(&harness, key, &record(&harness, "x").of_subject(Some(subject))).await;
    }
    assert_eq!(harness.store().delete(&deleted).await, Ok(true));
    assert_eq!(listed_keys(&harness, &subject).await, [expired, touched, stays].into());
    let lookup = Lookup { touch: Some(harness.now() + H::GRAIN * 1000), ..Lookup::default() };
    assert!(load_with(&harness, &touched, lookup).await.is_some());
    harness.advance(H::GRAIN * 11).await;
    assert_eq!(listed_keys(&harness, &subject).await, [touched, stays].into());
}

/// Listings can leave out what was revoked.
pub async fn a_listing_has_the_current_epoch<H: Harness<Store: Query>>(harness: H) {
    let subject = subject();
    create(&harness, &key(), &record(&harness, "x").of_subject(Some(subject))).await;
    assert!(listed(&harness, &subject).await.iter().all(|(_, found)| found.epoch == 0));
    let moved = revoke(&harness, &subject).await;
    // The record of before may be gone already; if it is there, its epoch is the new one.
    create(&harness, &key(), &record(&harness, "y").of_subject(Some(subject))).await;
    let listed = listed(&harness, &subject).await;
    assert!(!listed.is_empty() && listed.iter().all(|(_, found)| found.epoch == moved));
}

/// Scans everything; `between` runs after every batch.
async fn scan<H: Harness<Store: Query>>(harness: &H, mut between: impl AsyncFnMut()) -> Vec<(Key, Found)> {
    let (mut all, mut cursor) = (Vec::new(), 0);
    for _ in 0..100_000 {
        let batch = harness.store().scan(cursor).await.expect("a batch");
        all.extend(batch.found);
        match batch.next {
            Some(next) => cursor = next,
            None => return all,
        }
        between().await;
    }
    panic!("the scan does not end");
}

/// Nothing, at once or after empty batches.
pub async fn a_scan_of_an_empty_store_ends<H: Harness<Store: Query>>(harness: H) {
    assert!(scan(&harness, async || ()).await.is_empty());
}

/// Three thousand records live through a scan while others come and go.
pub async fn a_scan_finds_every_record_that_lives_through_it<H: Harness<Store: Query>>(harness: H) {
    let mut living = HashSet::new();
    for number in 0..3000 {
        let key = key();
        create(&harness, &key, &record(&harness, number.to_string())).await;
        living.insert(key);
    }
    let mut passing: Vec<Key> = Vec::new();
    for _ in 0..200 {
        let key = key();
        create(&harness, &key, &record(&harness, "passing")).await;
        passing.push(key);
    }
    let mut ever: HashSet<Key> = living.iter().chain(&passing).copied().collect();
    let found = scan(&harness, async || {
        for _ in 0..3 {
            if let Some(key) = passing.pop() {
                assert_eq!(harness.store().delete(&key).await, Ok(true));
            }
            let key = key();
            create(&harness, &key, &record(&harness, "new")).await;
            ever.insert(key);
        }
    })
    .await;
    let found: HashSet<Key> = found.into_iter().map(|(key, _)| key).collect();
    assert_eq!(living.difference(&found).count(), 0, "some were not found");
    assert!(found.is_subset(&ever), "found what was never there");
}

/// Searches can leave out what was revoked, and expired records are not found.
pub async fn a_scan_has_the_current_epochs<H: Harness<Store: Query>>(harness: H) {
    let (revoked, other) = (subject(), subject());
    let moved = revoke(&harness, &revoked).await;
    create(&harness, &key(), &record(&harness, "x").of_subject(Some(revoked))).await;
    create(&harness, &key(), &record(&harness, "y").of_subject(Some(other))).await;
    create(&harness, &key(), &record(&harness, "z")).await;
    create(&harness, &key(), &brief(&harness, 10)).await;
    harness.advance(H::GRAIN * 11).await;
    let found = scan(&harness, async || ()).await;
    let unique: BTreeSet<(Vec<u8>, u64)> =
        found.into_iter().map(|(_, found)| (found.record.payload.to_vec(), found.epoch)).collect();
    assert_eq!(unique, [(b"x".to_vec(), moved), (b"y".to_vec(), 0), (b"z".to_vec(), 0)].into());
}

/// Created, less deleted.
pub async fn len_counts_the_records<H: Harness<Store: Query>>(harness: H) {
    assert_eq!(harness.store().len().await, Ok(0));
    let keys: Vec<Key> = (0..100).map(|_| key()).collect();
    for key in &keys {
        create(&harness, key, &record(&harness, "x")).await;
    }
    assert_eq!(harness.store().len().await, Ok(100));
    let again = record(&harness, "again");
    assert_eq!(harness.store().create(&keys[0], &again).await, Ok(false));
    for key in &keys[..40] {
        assert_eq!(harness.store().delete(key).await, Ok(true));
        assert_eq!(harness.store().delete(key).await, Ok(false));
    }
    assert_eq!(harness.store().len().await, Ok(60));
}

/// By whichever way one looks for it.
pub async fn clear_leaves_nothing<H: Harness<Store: Query>>(harness: H) {
    let (subject, keys) = (subject(), [(); 300].map(|()| key()));
    for key in &keys {
        create(&harness, key, &record(&harness, "x").of_subject(Some(subject))).await;
    }
    assert_eq!(harness.store().clear().await, Ok(()));
    assert_eq!(harness.store().len().await, Ok(0));
    assert!(listed(&harness, &subject).await.is_empty());
    assert!(scan(&harness, async || ()).await.is_empty());
    for key in &keys {
        assert_eq!(load(&harness, key).await, None);
    }
    create(&harness, &key(), &record(&harness, "new")).await;
    assert_eq!(harness.store().len().await, Ok(1));
}

/// A session that is being saved while everything is cleared must not outlive a revocation of before.
pub async fn clear_leaves_the_epochs<H: Harness<Store: Query>>(harness: H) {
    let (with, without) = (subject(), subject());
    create(&harness, &key(), &record(&harness, "x").of_subject(Some(with))).await;
    let before = [revoke(&harness, &with).await, revoke(&harness, &without).await];
    assert_eq!(harness.store().clear().await, Ok(()));
    for (subject, before) in [&with, &without].into_iter().zip(before) {
        assert_eq!(harness.store().epoch(subject).await, Ok(before));
        assert!(revoke(&harness, subject).await > before);
    }
}

/// A late save after everything was cleared.
pub async fn a_cleared_record_is_not_brought_back<H: Harness<Store: Query>>(harness: H) {
    let (key, old) = (key(), record(&harness, "old"));
    create(&harness, &key, &old).await;
    assert_eq!(harness.store().clear().await, Ok(()));
    assert_eq!(harness.store().save(&key, &next(&old, "new"), old.version).await, Ok(Saved::Gone));
    assert_eq!(load(&harness, &key).await, None);
}
