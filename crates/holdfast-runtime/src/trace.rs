//! W3C trace context: one trace runs from the slot of a schedule to the sealed backup, through annotations, bus headers
//! and the environment of pods.

use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, TraceContextExt, TraceState},
};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A parsed `traceparent` of version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

impl TraceParent {
    /// The value as it stands in a header: `00-<trace>-<span>-<flags>`.
    pub fn header(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }

    /// Identity of the whole trace, 32 hex digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

/// A `traceparent` for a trace that begins here: that of the current span where traces are exported, otherwise random.
pub fn new_traceparent() -> String {
    current().unwrap_or_else(|| {
        let ids = RandomIdGenerator::default();
        TraceParent {
            trace: ids.new_trace_id(),
            span: ids.new_span_id(),
            flags: TraceFlags::SAMPLED,
        }
        .header()
    })
}

/// `traceparent` of the current span, if traces are exported.
pub fn current() -> Option<String> {
    let context = Span::current().context();
    let span = context.span().span_context().clone();
    span.is_valid().then(|| {
        TraceParent {
            trace: span.trace_id(),
            span: span.span_id(),
            flags: span.trace_flags(),
        }
        .header()
    })
}

/// Reads a `traceparent`; anything that the W3C recommendation calls invalid is `None`.
pub fn parse(value: &str) -> Option<TraceParent> {
    let mut parts = value.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lower_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let well_formed = lower_hex(version, 2) && lower_hex(trace, 32) && lower_hex(span, 16) && lower_hex(flags, 2);
    // Later versions may append fields; version 00 may not, and ff is forbidden.
    if !well_formed || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let parsed = TraceParent {
        trace: TraceId::from_hex(trace).ok()?,
        span: SpanId::from_hex(span).ok()?,
        flags: TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
    };
    (parsed.trace != TraceId::INVALID && parsed.span != SpanId::INVALID).then_some(parsed)
}

/// Makes the current span a child of `traceparent`; a missing or invalid one changes nothing. To be called before spans
/// are opened within it, which would already have told their parent.
pub fn follow(traceparent: Option<&str>) {
    let Some(parent) = traceparent.and_then(parse) else {
        return;
    };
    let remote = SpanContext::new(parent.trace, parent.span, parent.flags, true, TraceState::default());
    // A span that has already begun keeps its parent: only its place in the picture is lost.
    if let Err(error) = Span::current().set_parent(Context::new().with_remote_span_context(remote)) {
        tracing::trace!(%error, "span keeps its parent");
    }
}

/// 16 random hex digits, to tell one process from another.
pub(crate) fn random_hex() -> String {
    format!("{:016x}", RandomIdGenerator::default().new_span_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_traceparent_can_be_parsed_and_is_new() {
        let (one, two) = (new_traceparent(), new_traceparent());
        assert_ne!(one, two);
        assert_eq!(parse(&one).unwrap().header(), one);
    }

    #[test]
    fn invalid_traceparents_are_refused() {
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert!(parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later").is_some());
    }
}
