//! Flash messages: their JSON, and whatever is done to them.

use session_core::Flash;

use crate::input::Input;

const KEYS: [&str; 4] = ["notice", "alert", "", "\u{7f}\"\\"];

pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(2) {
        0 => json(input.rest()),
        _ => operations(&mut input),
    }
}

fn json(text: &[u8]) {
    let Ok(flash) = serde_json::from_slice::<Flash>(text) else { return };
    let written = serde_json::to_string(&flash).unwrap();
    let again: Flash = serde_json::from_str(&written).expect("what was written can be read");
    assert!(again == flash);
    assert_eq!(serde_json::to_string(&again).unwrap(), written);
    let mut keys: Vec<_> = flash.keys().collect();
    assert!(keys.iter().all(|key| flash.contains_key(key)));
    assert_eq!(keys.is_empty(), flash.is_empty());
    keys.sort_unstable();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "a key twice");
}

/// The same as with two lists of pairs.
fn operations(input: &mut Input<'_>) {
    type List = Vec<(String, String)>;
    fn insert(list: &mut List, key: &str, message: &str) {
        match list.iter_mut().find(|(name, _)| name == key) {
            Some(entry) => entry.1 = message.to_owned(),
            None => list.push((key.to_owned(), message.to_owned())),
        }
    }
    let mut flash = Flash::default();
    let (mut now, mut next) = (List::new(), List::new());
    for _ in 0..input.below(32) {
        let key = KEYS[input.below(KEYS.len())];
        match input.below(8) {
            0 | 1 => {
                let message = input.byte().to_string();
                flash.set(key, &*message);
                insert(&mut next, key, &message);
            }
            2 => {
                flash.keep(key);
                now.iter()
                    .filter(|(name, _)| name == key)
                    .for_each(|(_, message)| insert(&mut next, key, message));
            }
            3 => {
                flash.keep_all();
                now.iter().for_each(|(key, message)| insert(&mut next, key, message));
            }
            4 => {
                flash.discard(key);
                next.retain(|(name, _)| name != key);
            }
            5 => {
                flash.clear_now();
                now.clear();
            }
            6 => {
                flash.discard_all();
                next.clear();
            }
            _ => {
                flash.rotate();
                now = core::mem::take(&mut next);
            }
        }
        let mut both = now.clone();
        both.extend(next.iter().filter(|(key, _)| now.iter().all(|(name, _)| name != key)).cloned());
        assert!(flash.iter().eq(both.iter().map(|(key, message)| (&**key, &**message))));
        let found = both.iter().find(|(name, _)| name == key).map(|(_, message)| &**message);
        assert_eq!((flash.get(key), flash.is_empty()), (found, both.is_empty()));
    }
}
