//! What a limit of sessions for each subject means, where a store has one: for harnesses whose store is set to [`PER_SUBJECT`].

use std::{collections::BTreeSet, sync::Arc};

use session_native::{Key, Query, Store as _, SubjectTag, store::Saved};

use crate::{
    Harness,
    support::{create, key, next, record, subject},
};

/// The limit that the points are written for.
pub const PER_SUBJECT: usize = 3;

async fn listed<H: Harness<Store: Query>>(harness: &H, subject: &SubjectTag) -> BTreeSet<Key> {
    let listed = harness.store().by_subject(subject).await.expect("a listing");
    listed.into_iter().map(|(key, _)| key).collect()
}

/// Signs in with new sessions that expire so many grains after the longest, one after the other.
async fn sign_in<H: Harness<Store: Query>, const N: usize>(
    harness: &H,
    subject: SubjectTag,
    grains: [u32; N],
) -> [Key; N] {
    let keys = [(); N].map(|()| key());
    for (key, grains) in keys.iter().zip(grains) {
        let mut record = record(harness, "x").of_subject(Some(subject));
        record.expires_at = record.expires_at + H::GRAIN * 100 * grains;
        create(harness, key, &record).await;
    }
    keys
}

/// Those that expire first were used least recently; but never the one that signs in.
pub async fn one_beyond_the_limit_ends_the_least_recently_used<H: Harness<Store: Query>>(harness: H) {
    let (ada, bob) = (subject(), subject());
    let [_, first, second] = sign_in(&harness, ada, [1, 2, 3]).await;
    let [other] = sign_in(&harness, bob, [0]).await;
    let [newest] = sign_in(&harness, ada, [0]).await;
    assert_eq!(listed(&harness, &ada).await, [first, second, newest].into());
    assert_eq!(listed(&harness, &bob).await, [other].into(), "another subject's don't count");
}

/// Signing in with a session that is there already is a save.
pub async fn a_session_that_signs_in_counts<H: Harness<Store: Query>>(harness: H) {
    let ada = subject();
    let (visiting, visitor) = (key(), record(&harness, "x"));
    create(&harness, &visiting, &visitor).await;
    let [_, first, second] = sign_in(&harness, ada, [1, 2, 3]).await;
    let signed_in = next(&visitor, "y").of_subject(Some(ada));
    assert_eq!(harness.store().save(&visiting, &signed_in, visitor.version).await, Ok(Saved::Stored));
    assert_eq!(listed(&harness, &ada).await, [visiting, first, second].into());
}

/// A phone stays signed in while a laptop signs in and out.
pub async fn an_ended_session_takes_nobodys_place<H: Harness<Store: Query>>(harness: H) {
    let ada = subject();
    let [phone] = sign_in(&harness, ada, [0]).await;
    for _ in 0..2 * PER_SUBJECT {
        let [laptop] = sign_in(&harness, ada, [1]).await;
        assert_eq!(harness.store().delete(&laptop).await, Ok(true));
    }
    assert_eq!(listed(&harness, &ada).await, [phone].into());
}

/// Their records may be there for as long as ever they would have lived, and longer than the new ones.
pub async fn a_revoked_session_takes_nobodys_place<H: Harness<Store: Query>>(harness: H) {
    let ada = subject();
    for _ in 0..2 {
        sign_in(&harness, ada, [7, 8, 9]).await;
        harness.store().revoke_subject(&ada).await.expect("a revocation");
    }
    let new = sign_in(&harness, ada, [0, 1, 2]).await;
    let listed = listed(&harness, &ada).await;
    assert!(listed.is_superset(&new.into()), "revoked ones pushed a new one out");
    // And these count.
    let [newest] = sign_in(&harness, ada, [3]).await;
    let listed = self::listed(&harness, &ada).await;
    assert!(!listed.contains(&new[0]) && listed.is_superset(&[new[1], new[2], newest].into()));
}

/// Two at once could each end what the other one spares, or both spare it.
pub async fn of_many_sign_ins_at_once_as_many_stay_as_may<H: Harness<Store: Query>>(harness: H) {
    let (harness, ada) = (Arc::new(harness), subject());
    let sign_ins: Vec<_> = (0..50)
        .map(|_| {
            let harness = Arc::clone(&harness);
            tokio::spawn(async move { sign_in(&*harness, ada, [0]).await })
        })
        .collect();
    for sign_in in sign_ins {
        sign_in.await.expect("a task");
    }
    assert_eq!(listed(&*harness, &ada).await.len(), PER_SUBJECT);
}
