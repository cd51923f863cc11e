//! Three-way merge of JSON trees: what keeps the changes of two requests that changed the same session.

mod policies;

use alloc::{
    borrow::ToOwned as _,
    collections::BTreeSet,
    string::{String, ToString as _},
    vec::Vec,
};

pub use policies::{MergePolicies, MergePolicy};
use serde_json::{Map, Number, Value};

use crate::error::Error;

/// Applies to `theirs` what changed from `base` to `mine`.
///
/// Objects are merged field by field, at any depth; everything else (arrays too) is a value that is replaced as a whole. Where both
/// sides changed the same value, `mine` wins; a change wins over a removal. Fields that only `theirs` has are kept.
/// [`MergePolicies::merge`] does the same with other rules for what both sides changed.
///
/// Laws (each is a property test):
/// - without a change of mine nothing changes: `merge(b, b, t) == t`;
/// - without a change of theirs mine is the result: `merge(b, m, b) == m`;
/// - changes of different fields commute.
///
/// ```
/// use serde_json::json;
/// use session_core::merge;
///
/// let base = json!({"cart": {"apples": 1}, "theme": "light"});
/// let mine = json!({"cart": {"apples": 2}, "theme": "light"});
/// let theirs = json!({"cart": {"apples": 1, "pears": 3}, "theme": "dark"});
/// assert_eq!(
///     merge(&base, &mine, theirs),
///     json!({"cart": {"apples": 2, "pears": 3}, "theme": "dark"})
/// );
/// ```
#[must_use]
pub fn merge(base: &Value, mine: &Value, theirs: Value) -> Value {
    MergePolicies::new().merge(base, mine, theirs).expect("only `MergePolicy::Fail` fails")
}

impl MergePolicies {
    /// Applies to `theirs` what changed from `base` to `mine`, as [`merge`] does, under these policies.
    ///
    /// The first two laws of [`merge`] hold for every policy, and that of different fields does too.
    ///
    /// # Errors
    /// [`Error::MergeConflict`] if both sides changed a field whose policy is [`MergePolicy::Fail`].
    pub fn merge(&self, base: &Value, mine: &Value, theirs: Value) -> Result<Value, Error> {
        let merged =
            Merge { policies: self, path: Vec::new() }.value(Some(base), Some(mine), Some(theirs))?;
        // Nothing is removed that both sides have.
        Ok(merged.unwrap_or_default())
    }
}

/// A merge on its way through the trees.
struct Merge<'a> {
    policies: &'a MergePolicies,
    path: Vec<&'a str>,
}

impl<'a> Merge<'a> {
    /// Merges a value, which may be absent anywhere: not yet added, or removed.
    fn value(
        &mut self,
        base: Option<&'a Value>,
        mine: Option<&'a Value>,
        theirs: Option<Value>,
    ) -> Result<Option<Value>, Error> {
        if mine == base {
            return Ok(theirs);
        }
        let theirs = match (base, mine, theirs) {
            (Some(Value::Object(base)), Some(Value::Object(mine)), Some(Value::Object(theirs))) => {
                return self.objects(Some(base), mine, theirs).map(Value::Object).map(Some);
            }
            // Added by both sides.
            (None, Some(Value::Object(mine)), Some(Value::Object(theirs))) => {
                return self.objects(None, mine, theirs).map(Value::Object).map(Some);
            }
            (_, _, theirs) => theirs,
        };
        if theirs.as_ref() == base {
            return Ok(mine.cloned());
        }
        self.changed_by_both(base, mine, theirs)
    }

    fn objects(
        &mut self,
        base: Option<&'a Map<String, Value>>,
        mine: &'a Map<String, Value>,
        mut theirs: Map<String, Value>,
    ) -> Result<Map<String, Value>, Error> {
        let removed = base.into_iter().flat_map(Map::keys).filter(|field| !mine.contains_key(*field));
        for field in removed.chain(mine.keys()) {
            self.path.push(field);
            let before = base.and_then(|base| base.get(field));
            let merged = self.value(before, mine.get(field), theirs.remove(field))?;
            self.path.pop();
            if let Some(merged) = merged {
                theirs.insert(field.clone(), merged);
            }
        }
        Ok(theirs)
    }

    fn changed_by_both(
        &self,
        base: Option<&Value>,
        mine: Option<&Value>,
        theirs: Option<Value>,
    ) -> Result<Option<Value>, Error> {
        // Fields that were replaced or removed together with the object around them.
        for (declared, below) in self.policies.failing_below(&self.path) {
            let at = |tree| below.clone().try_fold(tree, |tree: &Value, name| tree.get(name));
            let (base, mine, theirs) = (base.and_then(at), mine.and_then(at), theirs.as_ref().and_then(at));
            if base != mine && base != theirs && mine != theirs {
                return Err(Error::MergeConflict { field: declared.to_owned() });
            }
        }
        let (declared, policy) = self.policies.of(&self.path);
        let settled = match policy {
            MergePolicy::Fail if mine != theirs.as_ref() => {
                return Err(Error::MergeConflict { field: declared.to_owned() });
            }
            MergePolicy::Theirs => return Ok(theirs),
            MergePolicy::Max => max(mine, theirs.as_ref()),
            MergePolicy::Sum => sum(base, mine, theirs.as_ref()),
            MergePolicy::Union => union(base, mine, theirs.as_ref()),
            MergePolicy::Mine | MergePolicy::Fail => None,
        };
        // A change counts more than a removal.
        Ok(settled.or_else(|| mine.cloned()).or(theirs))
    }
}

fn max(mine: Option<&Value>, theirs: Option<&Value>) -> Option<Value> {
    let (mine, theirs) = (mine?.as_number()?, theirs?.as_number()?);
    let greater = match (integer(mine), integer(theirs)) {
        (Some(mine), Some(theirs)) => theirs > mine,
        _ => theirs.as_f64()? > mine.as_f64()?,
    };
    Some(Value::Number(if greater { theirs } else { mine }.clone()))
}

fn sum(base: Option<&Value>, mine: Option<&Value>, theirs: Option<&Value>) -> Option<Value> {
    let zero = Number::from(0);
    let base = match base {
        None | Some(Value::Null) => &zero,
        Some(base) => base.as_number()?,
    };
    let (mine, theirs) = (mine?.as_number()?, theirs?.as_number()?);
    if let (Some(base), Some(mine), Some(theirs)) = (integer(base), integer(mine), integer(theirs)) {
        // Three integers of 64 bits: far from the ends of 128.
        let sum = (theirs + (mine - base)).clamp(i64::MIN.into(), u64::MAX.into());
        return Some(u64::try_from(sum).map_or_else(|_| Value::from(sum as i64), Value::from));
    }
    let sum = theirs.as_f64()? + (mine.as_f64()? - base.as_f64()?);
    Number::from_f64(sum).map(Value::Number)
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// In the order of `theirs`, then of `mine`.
fn union(base: Option<&Value>, mine: Option<&Value>, theirs: Option<&Value>) -> Option<Value> {
    let base: &[Value] = match base {
        None | Some(Value::Null) => &[],
        Some(base) => base.as_array()?,
    };
    let (mine, theirs) = (mine?.as_array()?, theirs?.as_array()?);
    // By their text, to be found quickly: a session may have a hundred thousand elements.
    let texts = |values: &[Value]| values.iter().map(Value::to_string).collect::<BTreeSet<_>>();
    let (before, now) = (texts(base), texts(mine));
    let mut there = BTreeSet::new();
    let mut merged = Vec::with_capacity(theirs.len() + mine.len());
    for value in theirs {
        let text = value.to_string();
        if !before.contains(&text) || now.contains(&text) {
            there.insert(text);
            merged.push(value.clone());
        }
    }
    for value in mine {
        let text = value.to_string();
        if !before.contains(&text) && there.insert(text) {
            merged.push(value.clone());
        }
    }
    Some(Value::Array(merged))
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use serde_json::json;

    use super::*;

    #[test]
    fn table() {
        let cases = [
            // base, mine, theirs, merged
            (json!({}), json!({"a": 1}), json!({"b": 2}), json!({"a": 1, "b": 2})),
            (json!({"a": 1}), json!({}), json!({"a": 1, "b": 2}), json!({"b": 2})),
            (json!({"a": 1}), json!({}), json!({"a": 9}), json!({"a": 9})), // their change wins over my removal
            (json!({"a": 1}), json!({"a": 2}), json!({}), json!({"a": 2})), // my change wins over their removal
            (json!({"a": 1}), json!({"a": 1}), json!({}), json!({})),
            (json!({"a": 1}), json!({"a": 2}), json!({"a": 3}), json!({"a": 2})), // both: mine
            (json!({"a": [1]}), json!({"a": [1, 2]}), json!({"a": [1, 3]}), json!({"a": [1, 2]})), // arrays are values
            (
                json!({"a": {"x": 1}}),
                json!({"a": {"x": 1, "y": 2}}),
                json!({"a": {"x": 5}}),
                json!({"a": {"x": 5, "y": 2}}),
            ),
            (json!({"a": {"x": 1}}), json!({"a": 7}), json!({"a": {"x": 5}}), json!({"a": 7})),
            (json!({}), json!({"m": {"k": 1}}), json!({"m": {"l": 2}}), json!({"m": {"k": 1, "l": 2}})),
            (json!(1), json!(2), json!(3), json!(2)),
            (json!({"n": null}), json!({"n": 1}), json!({"n": null, "u": 0}), json!({"n": 1, "u": 0})),
        ];
        for (base, mine, theirs, merged) in cases {
            assert_eq!(merge(&base, &mine, theirs.clone()), merged, "{base} {mine} {theirs}");
        }
    }

    #[test]
    fn policies_of_what_both_changed() {
        use MergePolicy::{Fail, Max, Mine, Sum, Theirs, Union};

        let n = || json!({});
        let f = |value: Value| json!({"f": value});
        let (low, high) = (f(json!(i64::MIN)), f(json!(u64::MAX)));
        let cases = [
            // policy, base, mine, theirs, merged
            (Mine, f(json!(1)), f(json!(2)), f(json!(3)), f(json!(2))),
            (Mine, f(json!(1)), n(), f(json!(3)), f(json!(3))),
            (Theirs, f(json!(1)), f(json!(2)), f(json!(3)), f(json!(3))),
            (Theirs, f(json!(1)), f(json!(2)), n(), n()),
            (Theirs, f(json!(1)), n(), f(json!(3)), f(json!(3))),
            (
                Theirs,
                f(json!({"x": 1})),
                f(json!({"x": 2, "y": 2})),
                f(json!({"x": 3})),
                f(json!({"x": 3, "y": 2})),
            ),
            (Fail, f(json!(1)), f(json!(2)), f(json!(2)), f(json!(2))), // they agree
            (Fail, f(json!(1)), f(json!(1)), f(json!(2)), f(json!(2))), // one changed it
            (Fail, f(json!(1)), n(), n(), n()),
            (Max, f(json!(1)), f(json!(2)), f(json!(3)), f(json!(3))),
            (Max, f(json!(9)), f(json!(-2)), f(json!(-3)), f(json!(-2))),
            (Max, f(json!(1)), f(json!(2.5)), f(json!(2)), f(json!(2.5))),
            (Max, high.clone(), low.clone(), f(json!(1.5)), f(json!(1.5))),
            (Max, n(), f(json!(1_u64 << 53)), f(json!((1_u64 << 53) + 1)), f(json!((1_u64 << 53) + 1))), // no float tells them apart
            (Max, f(json!(1)), f(json!(2)), f(json!(2.0)), f(json!(2))), // equal: mine
            (Max, n(), f(json!(2)), f(json!(3)), f(json!(3))),
            (Max, f(json!(1)), f(json!("2")), f(json!(3)), f(json!("2"))), // does not fit: mine
            (Max, f(json!(1)), n(), f(json!(0)), f(json!(0))), // a change counts more than a removal
            (Sum, f(json!(5)), f(json!(6)), f(json!(6)), f(json!(7))), // the same change twice is two changes
            (Sum, f(json!(5)), f(json!(3)), f(json!(9)), f(json!(7))),
            (Sum, n(), f(json!(2)), f(json!(3)), f(json!(5))),
            (Sum, f(Value::Null), f(json!(2)), f(json!(3)), f(json!(5))),
            (Sum, f(json!(0)), f(json!(u64::MAX)), f(json!(2)), high.clone()),
            (Sum, f(json!(0)), f(json!(i64::MIN)), f(json!(-2)), low.clone()),
            (Sum, low, high.clone(), f(json!(0)), high),
            (Sum, f(json!(1)), f(json!(0)), f(json!(-7)), f(json!(-8))),
            (Sum, f(json!(1)), f(json!(1.5)), f(json!(3)), f(json!(3.5))),
            (Sum, f(json!(0.0)), f(json!(1e308)), f(json!(1.5e308)), f(json!(1e308))), // not finite: mine
            (
                Sum,
                f(json!({"a": 1})),
                f(json!({"a": 2, "b": 1})),
                f(json!({"a": 4})),
                f(json!({"a": 5, "b": 1})),
            ),
            (Union, f(json!([1, 2])), f(json!([2, 3])), f(json!([1, 2, 4])), f(json!([2, 4, 3]))),
            (Union, n(), f(json!([1])), f(json!([2])), f(json!([2, 1]))),
            (Union, f(Value::Null), f(json!([1, 1])), f(json!([2])), f(json!([2, 1]))),
            (Union, f(json!([])), f(json!([{"k": 1}])), f(json!([{"k": 1}, 7])), f(json!([{"k": 1}, 7]))),
            (Union, f(json!([1])), f(json!(2)), f(json!([3])), f(json!(2))),
        ];
        for (policy, base, mine, theirs, merged) in cases {
            let policies = MergePolicies::new().field("f", policy);
            let context = format!("{policy:?} {base} {mine} {theirs}");
            assert_eq!(policies.merge(&base, &mine, theirs), Ok(merged), "{context}");
        }
    }

    #[test]
    fn each_field_has_its_own_policy() {
        let policies = MergePolicies::new()
            .field("a", MergePolicy::Theirs)
            .field("b.c", MergePolicy::Sum)
            .field("d", MergePolicy::Max);
        let tree = |n: i32| json!({"a": n, "b": {"a": n, "c": n}, "c": n, "d": -n});
        let merged = json!({"a": 3, "b": {"a": 2, "c": 4}, "c": 2, "d": -2});
        assert_eq!(policies.merge(&tree(1), &tree(2), tree(3)), Ok(merged));
    }

    #[test]
    fn what_one_side_changed_is_no_conflict_though_both_replaced_what_is_around_it() {
        let policies = MergePolicies::new().field("a.b", MergePolicy::Fail);
        let (base, other) = (json!({"a": {"b": 1, "c": 1}}), json!({"a": {"b": 1, "c": 2}}));
        let replaced = json!({"a": 7});
        assert_eq!(policies.merge(&base, &replaced, other.clone()), Ok(replaced.clone()));
        assert_eq!(policies.merge(&base, &other, replaced), Ok(other));
    }

    #[test]
    fn a_conflict_is_named_as_it_was_declared() {
        let policies = MergePolicies::new().field("a.b", MergePolicy::Fail);
        let tree = |value: u8| json!({"a": {"b": {"of the user": value}}});
        for theirs in [tree(3), json!({"a": {"b": {}}}), json!({"a": {"b": 3}}), json!({})] {
            assert_eq!(
                policies.merge(&tree(1), &tree(2), theirs.clone()).err(),
                Some(Error::MergeConflict { field: "a.b".into() }),
                "{theirs}"
            );
        }
    }
}
