//! Spans and metrics. No label and no field of them holds an owner, a value or SQL.

#[cfg(not(feature = "metrics"))]
#[path = "absent.rs"]
pub(crate) mod metrics;

#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod operation;
pub(crate) mod subject;
