//! The tables of `tests/SEED.md` and `tests/SECURITY.md`: complete, and the tests that they name exist. Documents' links lead somewhere.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

use std::{collections::BTreeMap, fs, path::Path};

const SEED: &str = include_str!("../../tests/SEED.md");
const SECURITY: &str = include_str!("../../tests/SECURITY.md");

/// The rows of the seed's inventory: the letter of each section, and its last number.
const SECTIONS: [(&str, u32); 16] = [
    ("M", 8),
    ("C", 34),
    ("K", 4),
    ("B", 11),
    ("S", 16),
    ("Q", 7),
    ("T", 20),
    ("L", 8),
    ("F", 6),
    ("I", 6),
    ("H", 5),
    ("E", 7),
    ("R", 7),
    ("X", 5),
    ("Z", 16),
    ("D", 13),
];

/// The three cells of each row of `SEED.md`.
fn seed_rows() -> impl Iterator<Item = [&'static str; 3]> {
    let lines = SEED.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = lines.map(|line| {
        line.split(" | ").collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("three cells: {line}"))
    });
    rows.filter(|[row, ..]: &[_; 3]| *row != "row")
}

/// Looks for each `file::test` of a text, and counts them. `::test` is of the file before.
fn find_tests(text: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut found, mut path) = (0, "");
    for (file, test) in text.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")) {
        if file.contains('/') {
            path = file;
        } else if !file.is_empty() {
            continue; // An item, such as `RequireAuth::fresh`.
        }
        let source = fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let spellings = [format!("fn {test}("), format!("fn {test}<"), format!("test('{test}'")];
        assert!(spellings.iter().any(|spelling| source.contains(spelling)), "{path} has no test {test:?}");
        found += 1;
    }
    found
}

#[test]
fn every_row_of_the_seed_is_mapped_once() {
    let mut mapped = BTreeMap::new();
    for id in SECTIONS.iter().flat_map(|(letter, last)| (1..=*last).map(move |at| format!("{letter}{at}"))) {
        mapped.insert(id, 0);
    }
    for [ids, ..] in seed_rows() {
        for id in ids.split(", ") {
            *mapped.get_mut(id).unwrap_or_else(|| panic!("{id} is no row of the inventory")) += 1;
        }
    }
    mapped.retain(|_, times| *times != 1);
    assert!(mapped.is_empty(), "not mapped once: {mapped:?}");
}

#[test]
fn every_row_of_the_seed_has_its_tests_or_a_reason() {
    let mut named = 0;
    for [ids, _, shown_by] in seed_rows() {
        let found = find_tests(shown_by);
        let excused = shown_by.starts_with("by type: ") || shown_by.starts_with("by design: ");
        assert!(found > 0 || excused, "{ids}: neither a test nor a reason");
        named += found;
    }
    assert!(named > 150, "{named}");
}

#[test]
fn every_requirement_of_security_has_its_row_and_its_tests() {
    for row in 1..=42 {
        assert_eq!(SECURITY.matches(&format!("\n| {row} | ")).count(), 1, "row {row}");
    }
    let named = find_tests(SECURITY);
    assert!(named > 80, "{named}");
}

/// Of documents that are read as files: those in `native/docs` are part of the crate's documentation, whose links rustdoc checks.
#[test]
fn links_to_files_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let documents = [
        "README.md",
        "js/README.md",
        "core/FORMAT.md",
        "core/PRESETS.md",
        "native/CLUSTER.md",
        "tests/SECURITY.md",
    ];
    let mut followed = 0;
    for document in documents.map(|name| root.join(name)) {
        let text = fs::read_to_string(&document).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        let is_file =
            |target: &&str| !target.starts_with('#') && !target.contains("://") && !target.contains("::");
        for target in targets.filter(is_file) {
            let path = target.split('#').next().unwrap();
            assert!(document.with_file_name(path).exists(), "{}: {target}", document.display());
            followed += 1;
        }
    }
    assert!(followed > 40, "{followed}");
}
