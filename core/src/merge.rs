//! Three-way merge of JSON trees: what keeps the changes of two requests that changed different fields.

use alloc::string::String;

use serde_json::{Map, Value};

/// Applies to `theirs` what changed from `base` to `mine`.
///
/// Objects are merged field by field, at any depth; everything else (arrays too) is a value that is replaced as a whole. Where both
/// sides changed the same value, `mine` wins; a change wins over a removal. Fields that only `theirs` has are kept.
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
    match (base, mine, theirs) {
        (base, mine, theirs) if base == mine => theirs,
        (Value::Object(base), Value::Object(mine), Value::Object(theirs)) => {
            Value::Object(merge_objects(base, mine, theirs))
        }
        (_, mine, _) => mine.clone(),
    }
}

fn merge_objects(
    base: &Map<String, Value>,
    mine: &Map<String, Value>,
    mut theirs: Map<String, Value>,
) -> Map<String, Value> {
    for (field, before) in base {
        // A removal only stands where the other side left the value as it was.
        if !mine.contains_key(field) && theirs.get(field) == Some(before) {
            theirs.remove(field);
        }
    }
    for (field, now) in mine {
        let merged = match (base.get(field), theirs.remove(field)) {
            (Some(before), Some(current)) => merge(before, now, current),
            // Removed by the other side and left alone by us: stays removed.
            (Some(before), None) if before == now => continue,
            // Added by both sides: objects still merge, as from nothing.
            (None, Some(current @ Value::Object(_))) if now.is_object() => {
                merge(&Value::Object(Map::new()), now, current)
            }
            (_, _) => now.clone(),
        };
        theirs.insert(field.clone(), merged);
    }
    theirs
}

#[cfg(test)]
mod tests {
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
}
