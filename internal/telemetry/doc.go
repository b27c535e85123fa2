// Package telemetry makes OpenTelemetry traces out of what the event plane does, and exports them over OTLP/HTTP.
//
// Contract. It knows events, requests and decisions, never media: spans are built from what is journaled and sent.
// Nothing waits for it. Spans that the collector does not take in time are dropped. Who does not open a Tracer pays
// nothing.
//
//   - A publication is a trace. Its root span is made when the publication has ended, from that event's times.
//   - A request to a receiver is a span of its publication's trace, kind client, and carries its traceparent (W3C Trace
//     Context). An event of no publication is a trace of its own, and so is a batch of several events.
//   - A decision is a span above its requests. One that let a publication begin belongs to the publication's trace; any
//     other is a trace of its own.
//
// Ids are computed, not remembered: those of a trace from the id of the question that let the publication begin, or,
// where nobody was asked, from that of the publication. The first of the two is remembered for the publications of this
// run that have not ended long ago; after a restart what is left of one is a trace by the publication's id. Whether a
// trace is sampled follows from its id, so that all of its spans agree.
package telemetry
