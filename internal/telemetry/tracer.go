package telemetry

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/webhook"
)

// Config of a Tracer.
type Config struct {
	// Endpoint is the URL of an OTLP/HTTP collector, such as http://127.0.0.1:4318; without a path it is /v1/traces.
	Endpoint string
	// Ratio of traces that are sampled, 0 to 1.
	Ratio float64
	// Service and Version name the resource; Instance tells one server from another.
	Service, Version, Instance string
	// Logger is told when the collector takes no spans, once a minute at most.
	Logger *slog.Logger
}

// keptRoots bounds the publications whose question is remembered.
const keptRoots = 1 << 16

// Tracer makes spans. It is safe for concurrent use.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	limit    uint64 // a trace is sampled when the number in its id is below

	mu sync.Mutex
	// asked is the question that let a publication begin; order are its keys, oldest first. Guarded by mu.
	asked map[string]string
	order []string
}

// Open returns a tracer. The collector need not be there.
func Open(ctx context.Context, cfg Config) (*Tracer, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("telemetry: the collector's address is no http or https URL")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	quiet := &complaints{log: cfg.Logger}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(quiet.handle))
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	t := &Tracer{asked: map[string]string{}, limit: uint64(min(max(cfg.Ratio, 0), 1) * math.MaxInt64)}
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter), sdktrace.WithIDGenerator(generator{}), sdktrace.WithSampler(t),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", cfg.Service), attribute.String("service.version", cfg.Version),
			attribute.String("service.instance.id", cfg.Instance),
		)),
	)
	t.tracer = t.provider.Tracer("github.com/hookline/hookline")
	return t, nil
}

// complaints logs what goes wrong with exporting.
type complaints struct {
	log  *slog.Logger
	mu   sync.Mutex
	last time.Time // guarded by mu
}

func (c *complaints) handle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.log != nil && now.Sub(c.last) > time.Minute {
		c.last = now
		c.log.Warn("traces are not exported", "err", attempts.Masked(err.Error()))
	}
}

// Close exports what is left, as long as ctx lasts.
func (t *Tracer) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// ShouldSample implements sdktrace.Sampler.
func (t *Tracer) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	r := sdktrace.SamplingResult{Decision: sdktrace.Drop}
	if t.sampled(p.TraceID) {
		r.Decision = sdktrace.RecordAndSample
	}
	return r
}

// Description implements sdktrace.Sampler.
func (t *Tracer) Description() string { return "by trace id" }

func (t *Tracer) sampled(id trace.TraceID) bool {
	return binary.BigEndian.Uint64(id[8:])>>1 < t.limit || t.limit >= math.MaxInt64
}

// root returns the name from which the ids of a publication's trace are derived.
func (t *Tracer) root(publication string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id := t.asked[publication]; id != "" {
		return id
	}
	return publication
}

// Feed is told of durable events. It does not block.
func (t *Tracer) Feed(recs []*journal.Record) {
	for _, r := range recs {
		switch {
		case r.Type == event.OnPublish && r.Class == event.History && r.Publication != "":
			t.began(r)
		case r.Type == event.OnPublicationEnded:
			t.ended(r)
		}
	}
}

// began remembers who was asked.
func (t *Tracer) began(r *journal.Record) {
	var body struct {
		Outcome struct {
			RequestID string `json:"requestId"`
		} `json:"outcome"`
	}
	if json.Unmarshal(r.Body, &body) != nil || body.Outcome.RequestID == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.asked[r.Publication]; known {
		return // a resume: the trace stays
	}
	if len(t.order) >= keptRoots {
		delete(t.asked, t.order[0])
		t.order = t.order[1:]
	}
	t.asked[r.Publication] = body.Outcome.RequestID
	t.order = append(t.order, r.Publication)
}

// ended makes the root span.
func (t *Tracer) ended(r *journal.Record) {
	var body struct {
		Start, End int64
		Reason     string
		Bytes      int64
	}
	if json.Unmarshal(r.Body, &body) != nil {
		return
	}
	name := t.root(r.Publication)
	_, span := t.tracer.Start(choose(context.Background(), traceID(name), spanID(name)), "publication",
		trace.WithTimestamp(time.UnixMilli(body.Start)), trace.WithAttributes(
			attribute.String("hookline.stream", r.Key), attribute.String("hookline.publication", r.Publication),
			attribute.String("hookline.reason", body.Reason), attribute.Int64("hookline.bytes", body.Bytes),
		))
	span.End(trace.WithTimestamp(time.UnixMilli(max(body.Start, body.End))))
}

// Decision is one that was made.
type Decision struct {
	Type event.Type
	// Key is the stream key that was asked for, and RequestID the question's id.
	Key, RequestID, By string
	Allowed            bool
	Start              time.Time
	Took               time.Duration
}

// Decided makes the span of a decision that somebody was asked for.
func (t *Tracer) Decided(d Decision) {
	if d.RequestID == "" {
		return
	}
	id, own := traceID(d.RequestID), spanID("decision "+d.RequestID)
	ctx := choose(context.Background(), id, own)
	if d.Type == event.OnPublish && d.Allowed { // below the publication that begins
		ctx = under(context.Background(), id, spanID(d.RequestID), own, t.sampled(id))
	}
	_, span := t.tracer.Start(ctx, "decide "+string(d.Type), trace.WithTimestamp(d.Start), trace.WithAttributes(
		attribute.String("hookline.stream", d.Key), attribute.String("hookline.event.id", d.RequestID),
		attribute.Bool("hookline.allowed", d.Allowed), attribute.String("hookline.decided_by", d.By),
	))
	if d.By == "failed" {
		span.SetStatus(codes.Error, "no answer")
	}
	span.End(trace.WithTimestamp(d.Start.Add(d.Took)))
}

// Sender returns a sender that makes a span of each request. decisions: the requests are questions of decisions.
func (t *Tracer) Sender(next webhook.Sender, decisions bool) webhook.Sender {
	return &sender{t: t, next: next, decisions: decisions}
}

type sender struct {
	t         *Tracer
	next      webhook.Sender
	decisions bool
}

// place returns the trace and the parent of a request.
func (s *sender) place(m *webhook.Meta) (id trace.TraceID, parent trace.SpanID) {
	switch {
	case s.decisions:
		return traceID(m.ID), spanID("decision " + m.ID)
	case m.Publication != "":
		name := s.t.root(m.Publication)
		return traceID(name), spanID(name)
	}
	return traceID(m.ID), trace.SpanID{}
}

// Send implements webhook.Sender.
func (s *sender) Send(ctx context.Context, r webhook.Request) webhook.Reply {
	m := &r.Meta
	id, parent := s.place(m)
	own := spanID(m.Endpoint + " " + m.ID + " " + strconv.Itoa(m.Attempt) + " " + strconv.FormatInt(time.Now().UnixNano(), 10))
	sampled := s.t.sampled(id)
	flags := "00"
	if sampled {
		flags = "01"
	}
	header := make(http.Header, len(r.Header)+1)
	for k, v := range r.Header {
		header[k] = v
	}
	header["Traceparent"] = []string{"00-" + id.String() + "-" + own.String() + "-" + flags}
	r.Header = header
	if !sampled {
		return s.next.Send(ctx, r)
	}
	start := choose(context.Background(), id, own)
	if parent.IsValid() {
		start = under(context.Background(), id, parent, own, true)
	}
	_, span := s.t.tracer.Start(start, "send "+m.Type, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("hookline.endpoint", m.Endpoint), attribute.String("hookline.event.id", m.ID),
		attribute.String("hookline.stream", m.Stream), attribute.Int64("hookline.seq", int64(m.Seq)),
		attribute.Int("hookline.attempt", m.Attempt), attribute.String("url.full", attempts.ShownURL(r.URL)),
		attribute.String("http.request.method", http.MethodPost),
	))
	rep := s.next.Send(ctx, r)
	switch {
	case rep.Err != nil:
		span.SetStatus(codes.Error, attempts.Masked(rep.Err.Error()))
	default:
		span.SetAttributes(attribute.Int("http.response.status_code", rep.Status))
		if rep.Status/100 != 2 {
			span.SetStatus(codes.Error, "status "+strconv.Itoa(rep.Status))
		}
	}
	span.End()
	return rep
}
