//! One call of the public API, with its span and its metric.

use futures_util::FutureExt;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::error::Result;
use crate::observe::metrics::Timer;
use crate::observe::subject::Subject;

/// Runs a call in a span, and measures it. The names are those of OpenTelemetry's conventions for databases.
///
/// It is not an `async fn`, which would hold the call twice.
pub(crate) fn observed<T>(
    subject: &Subject,
    operation: &'static str,
    call: impl Future<Output = Result<T>>,
) -> impl Future<Output = Result<T>> {
    let (timer, span) = (Timer::start(subject, operation), span(subject, operation));
    let inside = span.clone();
    let conclude = move |result: Result<T>| {
        let error = result.as_ref().err();
        if let Some(error) = error {
            span.record("error.type", error.kind().as_str());
            span.record("db.response.status_code", error.sqlstate());
        }
        timer.finish(error.map(|error| error.kind().as_str()));
        result
    };
    call.instrument(inside).map(conclude)
}

fn span(subject: &Subject, operation: &'static str) -> Span {
    tracing::info_span!(
        "operation",
        otel.name = operation,
        otel.kind = "client",
        db.system.name = subject.system,
        db.operation.name = operation,
        db.collection.name = subject.collection.as_deref(),
        retell_vault.namespace = subject.namespace,
        "error.type" = Empty,
        db.response.status_code = Empty,
    )
}
