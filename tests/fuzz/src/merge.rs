//! The three-way merge: its laws, field by field, and a second implementation.

use serde_json::{Map, Value};
use session_core::{Error, MergePolicies, MergePolicy, merge};

use crate::input::Input;

const NAMES: [&str; 4] = ["a", "b", "c", "a.b"];
const PATHS: [&str; 6] = ["a", "b", "c", "a.b", "b.a", "a.b.c"];
const POLICIES: [MergePolicy; 6] = [
    MergePolicy::Mine,
    MergePolicy::Theirs,
    MergePolicy::Fail,
    MergePolicy::Max,
    MergePolicy::Sum,
    MergePolicy::Union,
];

pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let mut policies = MergePolicies::new();
    for _ in 0..input.below(4) {
        policies = policies.field(PATHS[input.below(PATHS.len())], POLICIES[input.below(POLICIES.len())]);
    }
    let base = tree(&mut input, 0);
    // Often a small change of the base: two requests that change the same session.
    let mut mine = if input.below(2) == 0 { tree(&mut input, 0) } else { base.clone() };
    let mut theirs = if input.below(2) == 0 { tree(&mut input, 0) } else { base.clone() };
    for _ in 0..input.below(3) {
        change(&mut mine, &mut input);
        change(&mut theirs, &mut input);
    }

    let merged = merge(&base, &mine, theirs.clone());
    assert_eq!(Some(&merged), reference(Some(&base), Some(&mine), Some(&theirs)).as_ref());
    assert_eq!(merge(&base, &base, theirs.clone()), theirs, "nothing of mine");
    assert_eq!(merge(&base, &mine, base.clone()), mine, "nothing of theirs");
    assert_eq!(merge(&base, &mine, mine.clone()), mine, "the same twice");
    assert_eq!(merge(&base, &mine, merged.clone()), merged, "idempotent");

    assert_eq!(policies.merge(&base, &base, theirs.clone()).as_ref(), Ok(&theirs));
    assert_eq!(policies.merge(&base, &mine, base.clone()).as_ref(), Ok(&mine));
    // Whatever the policies: what one side alone changed is as that side has it.
    match policies.merge(&base, &mine, theirs.clone()) {
        Ok(merged) => alone(Some(&base), Some(&mine), Some(&theirs), Some(&merged)),
        Err(Error::MergeConflict { field }) => {
            let [base, mine, theirs] = [&base, &mine, &theirs]
                .map(|tree| field.split('.').try_fold(tree, |tree, name| tree.get(name)));
            assert!(base != mine && base != theirs && mine != theirs, "{field} is no conflict");
        }
        Err(error) => panic!("{error}"),
    }
}

fn tree(input: &mut Input<'_>, depth: usize) -> Value {
    match input.below(if depth < 4 { 12 } else { 8 }) {
        0 => Value::Null,
        1 => Value::from(i64::from(input.byte() as i8)),
        2 => Value::from(input.u64()),
        3 => Value::from(input.u64() as i64),
        4 => serde_json::Number::from_f64(f64::from_bits(input.u64())).map_or(Value::Null, Value::Number),
        5 => Value::from(input.slice(2).escape_ascii().to_string()),
        6 => (0..input.below(4)).map(|_| Value::from(input.below(4))).collect(),
        7 => Value::Bool(input.below(2) == 0),
        _ => {
            let mut fields = Map::new();
            for _ in 0..input.below(5) {
                fields.insert(NAMES[input.below(NAMES.len())].to_owned(), tree(input, depth + 1));
            }
            Value::Object(fields)
        }
    }
}

/// Sets or removes a field, some way down.
fn change(at: &mut Value, input: &mut Input<'_>) {
    let down = input.below(3) > 0;
    match at {
        Value::Object(fields) if down && !fields.is_empty() => {
            let chosen = input.below(fields.len());
            change(fields.values_mut().nth(chosen).expect("within the length"), input);
        }
        Value::Object(fields) => {
            let name = NAMES[input.below(NAMES.len())];
            match input.below(3) {
                0 => _ = fields.remove(name),
                _ => _ = fields.insert(name.to_owned(), tree(input, 3)),
            }
        }
        other => *other = tree(input, 3),
    }
}

/// What `merge` says of itself, as short as it can be said.
fn reference(base: Option<&Value>, mine: Option<&Value>, theirs: Option<&Value>) -> Option<Value> {
    let object = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    match (object(mine), object(theirs)) {
        _ if mine == base => theirs.cloned(),
        _ if theirs == base => mine.cloned(),
        (Some(mine), Some(theirs)) if base.is_none_or(Value::is_object) => {
            let base = object(base).unwrap_or_default();
            let names = mine.keys().chain(theirs.keys());
            let field = |name: &String| {
                let merged = reference(base.get(name), mine.get(name), theirs.get(name))?;
                Some((name.clone(), merged))
            };
            Some(Value::Object(names.filter_map(field).collect()))
        }
        _ => mine.or(theirs).cloned(),
    }
}

fn alone(base: Option<&Value>, mine: Option<&Value>, theirs: Option<&Value>, merged: Option<&Value>) {
    if mine == base {
        assert_eq!(merged, theirs, "changed by them alone, or by nobody");
    } else if theirs == base {
        assert_eq!(merged, mine, "changed by me alone");
    } else if let (Some(Value::Object(base)), Some(Value::Object(mine)), Some(Value::Object(theirs))) =
        (base, mine, theirs)
    {
        let merged = merged.and_then(Value::as_object).expect("an object on both sides stays one");
        for name in base.keys().chain(mine.keys()).chain(theirs.keys()).chain(merged.keys()) {
            alone(base.get(name), mine.get(name), theirs.get(name), merged.get(name));
        }
    }
}
