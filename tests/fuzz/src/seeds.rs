//! Inputs to begin with, out of `tests/vectors`.

use std::{fs, path::Path};

use serde_json::Value;

/// The seeds of a target.
#[must_use]
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let mut seeds = match target {
        "token" => {
            let tokens = texts("tokens.json", "tokens", "token").into_iter().chain(texts(
                "rejected.json",
                "tokens",
                "token",
            ));
            let any = tokens.flat_map(|token| [0, 1].map(|kind| [&[kind, 0], token.as_bytes()].concat()));
            let payloads = texts("payloads.json", "readable", "payload").into_iter();
            any.chain(payloads.flat_map(|payload| {
                let (altered, authentic) = ([0, 1], [0, 2, 0, 1, 0]);
                [
                    [&altered[..], &[7; 16], &[1], &piece(&payload), &[1, 0, 40, 1, 0]].concat(),
                    [&authentic[..], &[0, 0, 0, 0, 1, 0, 0, 0], &[9; 16], &[2], payload.as_bytes()].concat(),
                ]
            }))
            .collect()
        }
        "cookie_header" => texts("cookies.json", "read", "header")
            .iter()
            .flat_map(|header| [1, 2].map(|name| [&[name], header.as_bytes()].concat()))
            .collect(),
        "set_cookie" => cases("cookies.json", "written").iter().map(set_cookie).collect(),
        "record" => ["records", "unreadable"]
            .iter()
            .flat_map(|list| texts("records.json", list, "stored"))
            .map(|stored| [&[0][..], &bytes(&stored)].concat())
            .chain(texts("records.json", "records", "payload").iter().flat_map(|payload| {
                [0, 1, 2, 3]
                    .map(|codec| [&[1, codec][..], &[7; 16], &piece(&payload[1..]), &[0, 0, 9, 1]].concat())
            }))
            .collect(),
        // Policies, then three trees: the fuzzer finds its way.
        "merge" => (0..32)
            .map(|first| (0..200).map(|i: u8| i.wrapping_mul(first * 2 + 1) ^ first).collect())
            .collect(),
        "inflate" => {
            let gzip = texts("crystal/redis_values.json", "cases", "value_hex");
            let packed = texts("records.json", "records", "payload");
            let streams = packed.iter().map(|text| miniz_oxide::deflate::compress_to_vec(text.as_bytes(), 6));
            let records = texts("records.json", "unreadable", "stored");
            (gzip.iter().map(|value| [&[2][..], &bytes(value)].concat()))
                .chain(streams.map(|stream| [&[0][..], &stream].concat()))
                .chain(records.iter().map(|stored| [&[1][..], &bytes(stored)].concat()))
                .chain([[&[3, 40][..], br#""name":"value","#].concat()])
                .collect()
        }
        "crystal" => {
            let with = |mode: u8, texts: Vec<String>| {
                texts.into_iter().map(move |text| [&[mode][..], text.as_bytes()].concat())
            };
            with(0, texts("crystal/message_encryptor.json", "cases", "sealed"))
                .chain(with(0, texts("crystal/message_encryptor.json", "mutations", "token")))
                .chain(with(3, texts("crystal/session_json.json", "cases", "json")))
                .chain(with(3, texts("crystal/session_json.json", "parse", "input")))
                .chain(with(4, texts("crystal/cluster_messages.json", "parse", "input")))
                .chain(with(4, texts("crystal/fingerprint.json", "cases", "json")))
                .chain(texts("crystal/session_json.json", "cases", "json").iter().flat_map(|json| {
                    [0, 1].map(|plain| [&[1][..], &[7; 16], &[plain], &piece(json), &[0, 0, 9, 1]].concat())
                }))
                .collect()
        }
        "iron" => (texts("iron.json", "seals", "seal").iter().map(|seal| [&[0], seal.as_bytes()].concat()))
            .chain(texts("iron.json", "seals", "json").iter().flat_map(|json| {
                let parts = ["00ff", "1801209600000", "ff00", "", ""].map(piece).concat();
                [
                    [&[1][..], &[7; 16], &[9], &piece(json), &[0, 0, 9, 1]].concat(),
                    [&[2][..], &parts, &[1], &[9; 16], json.as_bytes()].concat(),
                ]
            }))
            .collect(),
        "flash" => {
            let json = texts("crystal/flash.json", "cases", "json").into_iter().chain(texts(
                "crystal/flash.json",
                "parse",
                "input",
            ));
            json.map(|json| [&[0], json.as_bytes()].concat()).chain([(0..=80).rev().collect()]).collect()
        }
        "payload" => ["readable", "unreadable"]
            .iter()
            .flat_map(|list| texts("payloads.json", list, "payload"))
            .chain(texts("records.json", "records", "payload"))
            .flat_map(|payload| [0, 1, 2].map(|kind| [&[kind], payload.as_bytes()].concat()))
            .collect(),
        _ => Vec::new(),
    };
    // What is long costs every mutation of it.
    seeds.retain(|seed: &Vec<u8>| seed.len() <= 6_000);
    seeds
}

fn cases(file: &str, list: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors").join(file);
    let vectors: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    vectors[list].as_array().unwrap().clone()
}

fn texts(file: &str, list: &str, field: &str) -> Vec<String> {
    cases(file, list).iter().filter_map(|case| case[field].as_str().map(str::to_owned)).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()
}

/// As [`Input::piece`](crate::input::Input::piece) takes it.
fn piece(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

fn set_cookie(case: &Value) -> Vec<u8> {
    let options = &case["options"];
    let is = |name: &str| options[name].as_bool().unwrap();
    let text = |value: &Value| piece(value.as_str().unwrap_or_default());
    let domain = &options["domain"];
    let flags = u8::from(options["path"] == "/")
        | u8::from(!domain.is_null()) << 1
        | u8::from(!is("secure")) << 2
        | u8::from(!is("http_only")) << 3
        | u8::from(is("partitioned")) << 4
        | u8::from(!is("persistent")) << 5;
    let same_site = ["Strict", "Lax", "None"].iter().position(|name| options["same_site"] == *name).unwrap();
    let mut seed = vec![flags, same_site as u8];
    seed.extend(case["max_age_ms"].as_u64().unwrap_or(0).to_be_bytes());
    seed.push(0);
    seed.extend(text(&options["name"]));
    if flags & 1 == 0 {
        seed.extend(text(&options["path"]));
    }
    if flags & 2 != 0 {
        seed.extend(text(domain));
    }
    seed.extend(text(&case["value"]));
    seed
}
