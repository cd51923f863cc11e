//! `ClusterMessage`: what nodes publish on `session:cluster:invalidate`.

use alloc::string::String;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::Time;

/// What happened.
///
/// ```
/// use session_core::interop::crystal::ClusterMessageType;
///
/// assert_eq!(serde_json::to_string(&ClusterMessageType::CacheClear)?, "\"cache_clear\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterMessageType {
    /// A session was deleted.
    SessionDeleted,
    /// A session was written.
    SessionInvalidated,
    /// All sessions were deleted.
    CacheClear,
}

impl<'de> Deserialize<'de> for ClusterMessageType {
    /// As there: in any case, with `-` or `_` or neither.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let plain = name.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase());
        match &*plain.collect::<String>() {
            "sessiondeleted" => Ok(Self::SessionDeleted),
            "sessioninvalidated" => Ok(Self::SessionInvalidated),
            "cacheclear" => Ok(Self::CacheClear),
            _ => Err(de::Error::custom("unknown type of message")),
        }
    }
}

/// A message between nodes: for a service that shares a Redis server with Crystal nodes and must tell theirs of a deletion, or hear of it.
///
/// ```
/// use session_core::{Timestamp, interop::crystal::{ClusterMessage, ClusterMessageType}};
///
/// let message = ClusterMessage {
///     kind: ClusterMessageType::SessionDeleted,
///     session_id: "abc".into(),
///     node_id: "n".into(),
///     timestamp: Timestamp::from_millis(1_767_323_045_000).into(),
/// };
/// let json = r#"{"type":"session_deleted","session_id":"abc","node_id":"n","timestamp":"2026-01-02T03:04:05Z"}"#;
/// assert_eq!(serde_json::to_string(&message)?, json);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMessage {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: ClusterMessageType,
    /// To which session; empty for [`ClusterMessageType::CacheClear`].
    pub session_id: String,
    /// Who says so.
    pub node_id: String,
    /// When.
    pub timestamp: Time,
}
