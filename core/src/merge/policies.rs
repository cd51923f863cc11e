//! Which of two concurrent changes of a field counts: declared by the application, looked up by the merge.

use alloc::{string::String, vec::Vec};

use serde_json::Value;

/// What becomes of a value that two requests changed at the same time. It only matters then: a change that is alone is taken as it is.
///
/// `base` is what both requests began with, `mine` and `theirs` what they made of it; `theirs` was stored first.
///
/// | policy | result | for values that are |
/// |---|---|---|
/// | [`Mine`](Self::Mine) | `mine` | any |
/// | [`Theirs`](Self::Theirs) | `theirs`, be it a removal | any |
/// | [`Fail`](Self::Fail) | [`Error::MergeConflict`](crate::Error::MergeConflict), unless both made the same of it | any |
/// | [`Max`](Self::Max) | the greater of `mine` and `theirs` | numbers |
/// | [`Sum`](Self::Sum) | `theirs + (mine - base)`; exact for integers, and kept within -2^63 and 2^64-1; as floats if one of the three is a float | numbers |
/// | [`Union`](Self::Union) | `theirs`, without what I removed from `base`, then what I added to it | arrays |
///
/// A `base` that is absent or `null` counts as 0 for `Sum` and as empty for `Union`. Where a policy doesn't fit the values (a text for
/// `Max`, a float that would not be finite), and where one side removed what the other changed, it is as with `Mine`, except that a
/// change counts more than a removal.
///
/// A save that was written although the store said it failed, and that another request wrote over since, is applied again when it is tried
/// again: with `Sum` it then counts twice.
///
/// With `Max`, `Sum` and `Union` it makes no difference which request comes first (floats: but for rounding; arrays: but for the order of
/// their elements). A sum can leave the range of the field's type, if two requests subtract from an unsigned number, say: then the commit
/// fails with [`Unreadable::Data`](crate::Unreadable::Data) and nothing is saved, so use a type with room.
///
/// ```
/// use serde_json::json;
/// use session_core::{MergePolicies, MergePolicy};
///
/// let policies = MergePolicies::new().field("visits", MergePolicy::Sum);
/// let merged = policies.merge(&json!({"visits": 5}), &json!({"visits": 6}), json!({"visits": 8}))?;
/// assert_eq!(merged, json!({"visits": 9}));
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MergePolicy {
    /// The request that commits later has its way. The default.
    #[default]
    Mine,
    /// The request that committed first has its way.
    Theirs,
    /// The later commit fails, and saves nothing.
    Fail,
    /// The greater number: high scores, "last seen".
    Max,
    /// Both changes are counted: visits, points.
    Sum,
    /// Both requests' additions and removals: sets written as arrays, such as a cart of article numbers. Elements are equal when their JSON is.
    Union,
}

/// The policies of a session's fields, and which of its fields survive a rotation. Given by
/// [`SessionData::merge_policies`](crate::SessionData::merge_policies).
///
/// A **path** is the names of nested fields as they stand in the JSON, joined by dots: `visits`, `cart.items`. A policy holds for the
/// value under its path and for all values below that, unless a longer path says otherwise; of two for the same path the later one
/// counts. Objects are always merged field by field, so the policy of an object is that of each of its values: `Sum` for a map of
/// counters adds up each of them. There are no paths into arrays, nor to names that have a dot in them. A path that names nothing does nothing.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use session_core::{MergePolicies, MergePolicy, SessionData};
///
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// #[serde(default)]
/// struct Shop {
///     visits: u64,
///     cart: Cart,
///     address: String,
/// }
///
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// #[serde(default)]
/// struct Cart {
///     items: Vec<u32>,
///     voucher: Option<String>,
/// }
///
/// impl SessionData for Shop {
///     fn merge_policies() -> MergePolicies {
///         MergePolicies::new()
///             .field("visits", MergePolicy::Sum)
///             .field("cart.items", MergePolicy::Union)
///             .field("address", MergePolicy::Fail)
///             .survives_rotation("cart.items")
///     }
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergePolicies {
    fields: Vec<(String, MergePolicy)>,
    survivors: Vec<String>,
}

impl MergePolicies {
    /// [`MergePolicy::Mine`] for every field; none survives a rotation.
    #[must_use]
    pub const fn new() -> Self {
        Self { fields: Vec::new(), survivors: Vec::new() }
    }

    /// Sets the policy of the field at `path` and of all below it.
    #[must_use]
    pub fn field(mut self, path: impl Into<String>, policy: MergePolicy) -> Self {
        self.fields.push((path.into(), policy));
        self
    }

    /// Lets changes of the field at `path` survive a rotation: a request that loaded the session before another one rotated it (a sign-in, a
    /// change of privileges) still writes this field, under the field's policy, and nothing else. It is told all the same that its session was
    /// rotated, gets no cookie, and goes on without a session. What arrives with an old token *after* the rotation is refused as ever.
    ///
    /// **This lets whoever had the token of before write into the session of after**, while such a request runs: with session
    /// fixation that is an attacker, and the session of after is the victim's. Declare only fields that are harmless in anyone's hands (a
    /// cart, not a delivery address), and none if in doubt. By default none is.
    ///
    /// It needs a store; it holds for saves that merge, not for exact updates; and never carries anything from one subject to another.
    #[must_use]
    pub fn survives_rotation(mut self, path: impl Into<String>) -> Self {
        self.survivors.push(path.into());
        self
    }

    /// The policy of the field at `path`, and the declared path that it comes from.
    pub(super) fn of(&self, path: &[&str]) -> (&str, MergePolicy) {
        let covers = |declared: &str| {
            let mut names = path.iter();
            declared.split('.').all(|name| names.next() == Some(&name))
        };
        self.fields
            .iter()
            .filter(|(declared, _)| covers(declared))
            .max_by_key(|(declared, _)| declared.len())
            .map_or(("", MergePolicy::default()), |(declared, policy)| (declared, *policy))
    }

    /// The declared paths of fields below `path` that must not be changed by both, and the names that lead from there to each.
    pub(super) fn failing_below(
        &self,
        path: &[&str],
    ) -> impl Iterator<Item = (&str, impl Iterator<Item = &str> + Clone)> {
        self.fields.iter().filter_map(|(declared, policy)| {
            let mut names = declared.split('.');
            let below = path.iter().all(|name| names.next() == Some(name));
            (below && *policy == MergePolicy::Fail).then_some((declared.as_str(), names))
        })
    }

    /// `base` with those changes of `mine` that survive a rotation.
    pub(crate) fn surviving(&self, base: &Value, mine: &Value) -> Value {
        let mut changed = base.clone();
        for path in &self.survivors {
            carry(mine, &mut changed, path);
        }
        changed
    }

    pub(crate) const fn has_survivors(&self) -> bool {
        !self.survivors.is_empty()
    }
}

/// Makes the field at `path` of `to` what it is in `from`, if the objects around it are there in both.
fn carry(mut from: &Value, mut to: &mut Value, path: &str) {
    let (parents, field) =
        path.rsplit_once('.').map_or((None, path), |(parents, field)| (Some(parents), field));
    for parent in parents.into_iter().flat_map(|parents| parents.split('.')) {
        let (Some(inner), Some(target)) = (from.get(parent), to.get_mut(parent)) else { return };
        (from, to) = (inner, target);
    }
    let (Some(from), Some(to)) = (from.as_object(), to.as_object_mut()) else { return };
    match from.get(field) {
        Some(value) => to.insert(field.into(), value.clone()),
        None => to.remove(field),
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_longest_path_counts_and_of_equal_ones_the_last() {
        let policies = MergePolicies::new()
            .field("a", MergePolicy::Sum)
            .field("a.b", MergePolicy::Fail)
            .field("c", MergePolicy::Max)
            .field("c", MergePolicy::Theirs);
        for (path, expected) in [
            (&["a"][..], ("a", MergePolicy::Sum)),
            (&["a", "x", "y"], ("a", MergePolicy::Sum)),
            (&["a", "b"], ("a.b", MergePolicy::Fail)),
            (&["a", "b", "c"], ("a.b", MergePolicy::Fail)),
            (&["c"], ("c", MergePolicy::Theirs)),
            (&["ab"], ("", MergePolicy::Mine)),
            (&["a.b"], ("", MergePolicy::Mine)), // a name with a dot is not a path
            (&["b"], ("", MergePolicy::Mine)),
            (&[], ("", MergePolicy::Mine)),
        ] {
            assert_eq!(policies.of(path), expected, "{path:?}");
        }
    }

    #[test]
    fn only_declared_changes_survive() {
        let policies = MergePolicies::new().survives_rotation("cart.items").survives_rotation("theme");
        assert!(policies.has_survivors() && !MergePolicies::new().has_survivors());
        let cases = [
            // base, mine, base with what survives
            (
                json!({"cart": {"items": [1], "voucher": 1}, "role": 1}),
                json!({"cart": {"items": [1, 2], "voucher": 2}, "role": 2, "new": 1}),
                json!({"cart": {"items": [1, 2], "voucher": 1}, "role": 1}),
            ),
            (json!({"theme": 1}), json!({}), json!({})),
            (json!({}), json!({"theme": 1}), json!({"theme": 1})),
            // What is around the field isn't carried along.
            (json!({"cart": null}), json!({"cart": {"items": [1], "voucher": 2}}), json!({"cart": null})),
            (json!({"cart": {"items": [1]}}), json!({"cart": null}), json!({"cart": {"items": [1]}})),
            (json!(null), json!({"theme": 1}), json!(null)),
        ];
        for (base, mine, expected) in cases {
            assert_eq!(policies.surviving(&base, &mine), expected, "{base} {mine}");
        }
    }
}
