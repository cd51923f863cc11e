//! [`Flash`] does what the seed's does: its recorded vectors, case by case.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{fs, path::Path};

use serde_json::{Value, json};
use session_core::Flash;

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/crystal/flash.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Does one step of the recording. Where a recorded step is a note (`quote"key` stands for a message with many escapes), the case's id
/// says what was done.
fn step(flash: &mut Flash, case: &str, step: &str) {
    let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
    match (verb, rest.split_once('=')) {
        ("set", _) if case == "escapes_and_all_helpers" && rest == "quote\"key" => {
            flash.set("quote\"key", "line1\nline2\t\u{1}\u{7f} / <b> é 🎉 \u{2028}");
        }
        ("notice=''", _) => flash.set_notice(""),
        ("set", Some((key, message))) => flash.set(key, message),
        ("alert=Careful", _) => flash.set_alert("Careful"),
        ("success,warning,info,error", _) => {
            flash.set_success("s");
            flash.set_warning("w");
            flash.set_info("i");
            flash.set_error("e");
        }
        ("rotate!", _) => flash.rotate(),
        ("keep", _) => flash.keep(rest.split(' ').next().unwrap()),
        ("keep_all", _) => flash.keep_all(),
        ("discard", _) => flash.discard(rest.split(' ').next().unwrap()),
        ("discard_all", _) => flash.discard_all(),
        ("clear_now", _) => flash.clear_now(),
        ("now[error]=now-only", _) => {
            // The seed lets one write the messages of this request. Ours reads them from what is stored.
            let mut tree = serde_json::to_value(&*flash).unwrap();
            tree["now"]["error"] = json!("now-only");
            let keys_in_order = ["notice", "alert", "error"];
            let now: Vec<_> =
                keys_in_order.iter().map(|key| format!("\"{key}\":{}", tree["now"][key])).collect();
            *flash =
                serde_json::from_str(&format!("{{\"now\":{{{}}},\"next\":{}}}", now.join(","), tree["next"]))
                    .unwrap();
        }
        _ => panic!("unknown step {step:?}"),
    }
}

#[test]
fn every_case() {
    let vectors = vectors();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 14);
    let mut flash = Flash::default();
    let mut done: Vec<&str> = Vec::new();
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let steps: Vec<&str> =
            case["steps"].as_array().unwrap().iter().map(|step| step.as_str().unwrap()).collect();
        if id == "escapes_and_all_helpers" {
            flash = Flash::default();
            done.clear();
        }
        // `…` (also as the beginning of a step) stands for all steps so far; without it they are listed again.
        let new = match steps.split_first() {
            Some((first, rest)) if first.starts_with('…') => rest,
            _ => {
                assert!(steps.starts_with(&done), "{id}");
                &steps[done.len()..]
            }
        };
        for name in new {
            step(&mut flash, id, name);
            done.push(name);
        }

        let expected = case["json"].as_str().unwrap();
        let written = serde_json::to_string(&flash).unwrap();
        assert_eq!(tree(&written), tree(expected), "{id}");
        assert_eq!(written, expected.replace("\\u007f", "\u{7f}"), "{id}");
        assert_eq!(serde_json::from_str::<Flash>(expected).unwrap(), flash, "{id}");

        let keys: Vec<_> = flash.keys().collect();
        assert_eq!(json!(keys), case["keys"], "{id}");
        assert_eq!(json!(flash.is_empty()), case["empty"], "{id}");
        let lookup = case["lookup"].as_object().unwrap();
        assert!(lookup.len() >= 7);
        for (key, message) in lookup {
            assert_eq!(json!(flash.get(key)), *message, "{id}: {key}");
            assert_eq!(flash.contains_key(key), !message.is_null(), "{id}: {key}");
        }
        let helpers =
            [flash.notice(), flash.alert(), flash.error(), flash.success(), flash.warning(), flash.info()];
        let names = ["notice", "alert", "error", "success", "warning", "info"];
        for (name, message) in names.iter().zip(helpers) {
            assert_eq!(json!(message), lookup[*name], "{id}: {name}");
        }
    }
}

#[test]
fn every_text_is_read_as_the_seed_reads_it() {
    let vectors = vectors();
    let cases = vectors["parse"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let input = case["input"].as_str().unwrap();
        let read = serde_json::from_str::<Flash>(input);
        match case["reserialized"].as_str() {
            Some(expected) => assert_eq!(serde_json::to_string(&read.unwrap()).unwrap(), expected, "{input}"),
            None => assert!(read.is_err(), "{input}"),
        }
    }
}

fn tree(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
