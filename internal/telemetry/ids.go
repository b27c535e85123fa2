package telemetry

import (
	"context"
	"crypto/sha256"

	"go.opentelemetry.io/otel/trace"
)

// traceID and spanID derive ids from names. A digest that is zero, which ids must not be, does not occur.
func traceID(name string) (id trace.TraceID) {
	sum := sha256.Sum256([]byte("trace " + name))
	copy(id[:], sum[:])
	return id
}

func spanID(name string) (id trace.SpanID) {
	sum := sha256.Sum256([]byte("span " + name))
	copy(id[:], sum[:])
	return id
}

// chosen is the key under which a context holds the ids of the span that is about to start.
type chosen struct{}

// choose lets the next span that is started with the context have these ids.
func choose(ctx context.Context, t trace.TraceID, s trace.SpanID) context.Context {
	return context.WithValue(ctx, chosen{}, [2]any{t, s})
}

// generator gives spans the ids that were chosen for them.
type generator struct{}

// NewIDs implements sdktrace.IDGenerator.
func (generator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if v, ok := ctx.Value(chosen{}).([2]any); ok {
		t, _ := v[0].(trace.TraceID)
		s, _ := v[1].(trace.SpanID)
		return t, s
	}
	return traceID("none"), spanID("none")
}

// NewSpanID implements sdktrace.IDGenerator.
func (g generator) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	_, s := g.NewIDs(ctx)
	return s
}

// under returns a context in which a span of the trace, below parent, is started with an id of its own.
func under(ctx context.Context, t trace.TraceID, parent, own trace.SpanID, sampled bool) context.Context {
	var flags trace.TraceFlags
	if sampled {
		flags = trace.FlagsSampled
	}
	ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: t, SpanID: parent, TraceFlags: flags}))
	return choose(ctx, t, own)
}
