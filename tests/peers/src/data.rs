//! The data of every session that is measured.

use serde::{Deserialize, Serialize};
use session_native::SessionData;

#[derive(Default, Clone, Serialize, Deserialize)]
pub struct Data {
    pub name: String,
    pub notes: String,
    pub visits: u64,
}

impl SessionData for Data {}

/// Sizes of data, as JSON. A cookie of 4096 bytes holds little more than the largest.
pub const SIZES: [usize; 3] = [300, 1024, 2800];

impl Data {
    /// Of which the JSON has `size` bytes.
    pub fn of_size(size: usize) -> Self {
        let mut data = Self { name: "ada".into(), ..Self::default() };
        data.notes = "n".repeat(size - json(&data).len());
        data
    }

    /// What a request that reads the session looks at: changes with every visit.
    pub fn sum(&self) -> u64 {
        self.visits + self.notes.len() as u64
    }
}

pub fn json(data: &Data) -> String {
    serde_json::to_string(data).expect("data without maps is JSON")
}

pub fn parse(json: &str) -> Data {
    serde_json::from_str(json).expect("what was written is read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_has_its_size() {
        for size in SIZES {
            assert_eq!(json(&Data::of_size(size)).len(), size);
        }
    }
}
