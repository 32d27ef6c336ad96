//! What operators ask for.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::balance::DrainPolicy;
use crate::config::leaf::Leaf;

/// How to drain. What is left out is as the pool's configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainOrder {
    /// From so long after the beginning on all sessions are made to move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
    /// A session that has paused for so long moves at its next request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub move_idle_after: Option<Span>,
    /// Sessions that are moved, and upgraded connections that are closed, a second, after the
    /// deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub moves_per_second: Option<std::num::NonZeroU32>,
    /// Even if no other backend of the pool is ready.
    #[serde(default)]
    pub force: bool,
}

impl DrainOrder {
    /// What it says of how to drain.
    pub fn policy(&self) -> DrainPolicy {
        DrainPolicy {
            deadline: self.deadline.map(|span| span.0),
            move_idle_after: self.move_idle_after.map(|span| span.0),
            moves_per_second: self.moves_per_second,
        }
    }
}

/// How to take a backend out of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceOrder {
    /// Even if no other backend of the pool is ready.
    #[serde(default)]
    pub force: bool,
}

/// A backend's new weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightOrder {
    /// Its share of the load next to the others' weights. Zero takes bound sessions only.
    #[schema(maximum = 65535)]
    pub weight: u32,
    /// Zero even if no other backend of the pool is ready.
    #[serde(default)]
    pub force: bool,
}

/// A backend that is to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBackend {
    /// Its name, which no other backend of the pool has.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    pub name: String,
    /// Where it listens: `host:port`, `[ipv6]:port` or `unix:/path`.
    #[schema(example = "10.0.0.14:3000")]
    pub address: String,
    /// Its share of the load next to the others' weights. Zero takes bound sessions only.
    #[serde(default = "one")]
    #[schema(maximum = 65535)]
    pub weight: u32,
    /// Backends of a higher number take new sessions only while no lower one can.
    #[serde(default)]
    #[schema(maximum = 100)]
    pub priority: u32,
    /// Requests in flight at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10_000_000)]
    pub max_connections: Option<std::num::NonZeroU32>,
}

fn one() -> u32 {
    1
}

/// What became of a backend that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removal {
    /// Sessions are bound to it: it takes no new ones, and is gone when they have left.
    pub is_leaving: bool,
    /// The configuration file, or discovery, still lists it: with the next reload it is back.
    pub comes_back: bool,
}

/// A duration as in a configuration: `"10m"`, `"1h 30m"`, `"500ms"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.show())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong =
            |error| de::Error::custom(format_args!("{error}: expected {}", Duration::EXPECTED));
        Duration::parse(&text).map(Span).map_err(wrong)
    }
}

impl PartialSchema for Span {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A duration as in a configuration"))
            .pattern(Some("^[0-9]{1,3}(ms|s|m|h)( [0-9]{1,3}(ms|s|m|h))?$"))
            .examples(["10m"])
            .into()
    }
}

impl ToSchema for Span {
    fn name() -> Cow<'static, str> {
        "Span".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_strictly() {
        let read = serde_json::from_str::<DrainOrder>;
        let order = read(r#"{"deadline": "10m", "moves_per_second": 5}"#).unwrap();
        assert_eq!(order.deadline, Some(Span(Duration::from_secs(600))));
        assert!(!order.force);
        for bad in [r#"{"deadline": 10}"#, r#"{"deadlin": "10m"}"#, r#"{"moves_per_second": 0}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&DrainOrder::default()).unwrap(), r#"{"force":false}"#);
    }
}
