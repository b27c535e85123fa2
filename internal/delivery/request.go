package delivery

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/webhook"
)

// form is how an attempt looks on the wire; a copy of the configuration at the time of the attempt.
type form struct {
	format Format
	signer *event.Signer
	header http.Header
	replay string
}

// classify reads a reply under the format.
func (f *form) classify(rep webhook.Reply) (class webhook.Class, code int, msg string) {
	class, code, msg = webhook.Classify(rep)
	if f.format == FormatCloudEvents && rep.Err == nil && rep.Status/100 == 2 {
		return webhook.Accepted, 0, ""
	}
	return class, code, msg
}

// request renders the body and signs it.
func (e *Endpoint) request(a *attempt, buf []byte) (webhook.Request, []byte) {
	if len(a.events) > 0 {
		return e.batchRequest(a, buf)
	}
	env, body := e.content(a, batched{it: a.it, prev: a.prev, gaps: a.gaps})
	h := header(env.stream, a.n)
	if a.form.format == FormatCloudEvents {
		public := env.public()
		buf = event.AppendCloudEvent(buf, &public, env.index, body)
		h = with(h, "Content-Type", "application/cloudevents+json; charset=utf-8")
	} else {
		buf = appendBody(buf, body, &env)
	}
	return webhook.Request{
		URL: a.t.url, Header: a.form.complete(h, env.id, buf), Body: buf, Timeout: a.wait,
		Meta: webhook.Meta{
			Endpoint: e.name, Stream: env.stream, ID: env.id, Type: string(env.typ), Seq: env.seq, Epoch: env.epoch,
			Publication: env.publication, Attempt: a.n,
		},
	}, buf
}

// content returns what the request says of one event.
func (e *Endpoint) content(a *attempt, b batched) (env envelope, body []byte) {
	it := b.it
	switch {
	case it.rec != nil:
		env, body = envelopeOf(it.rec), it.rec.Body
		env.prev, env.late = b.prev, it.late
		for _, g := range b.gaps {
			env.gap = append(env.gap, g.Gap)
		}
		if it.rec.Type == event.OnEventGap {
			body = gapFact(it.rec.Key, recordGap(it.rec))
		}
	case it.notice != nil:
		env, body = it.notice.envelope(), gapFact(it.notice.Stream, it.notice.Gap)
	default:
		env, body = it.question.envelope(e.deps.Stamper), it.question.body
	}
	env.replay = a.form.replay
	return env, body
}

// complete adds the endpoint's own headers and the signature.
func (f *form) complete(h http.Header, id string, body []byte) http.Header {
	for k, v := range f.header {
		h = with(h, append([]string{k}, v...)...)
	}
	if f.signer != nil {
		h = with(h)
		_ = f.signer.Headers(h, id, time.Now(), body) // our ids are valid; a receiver refuses what is not signed
	}
	return h
}

// with returns a copy of h with a member added; h may be shared.
func with(h http.Header, kv ...string) http.Header {
	h = h.Clone()
	if h == nil {
		h = http.Header{}
	}
	if len(kv) > 0 {
		h[kv[0]] = kv[1:]
	}
	return h
}

// public returns the envelope in its public form.
func (e *envelope) public() event.Envelope {
	out := event.Envelope{
		ID: e.id, Type: e.typ, Source: e.source, Incarnation: e.incarnation, Epoch: e.epoch, Stream: e.stream,
		Publication: e.publication, Time: e.time, Compensation: e.compensation, Gap: e.gap, Late: e.late,
		Replay: e.replay,
	}
	if e.hasSeq {
		out.Seq, out.Prev = e.seq, &e.prev
	}
	if e.hasAfter {
		out.After = &e.after
	}
	return out
}

// defaultVhostHeader is the header of the first attempt of nearly every event. It is not changed by who gets it.
var defaultVhostHeader = http.Header{"X-VHOST": {"__defaultVhost__"}} //nolint:gochecknoglobals // a constant

// header returns X-VHOST for events of a stream, and the number of the attempt from the second on.
func header(key string, n int) http.Header {
	vhost, _, ok := strings.Cut(key, "/")
	if n == 1 && vhost == "__defaultVhost__" {
		return defaultVhostHeader
	}
	h := make(http.Header, 2)
	if ok && vhost != "" {
		h["X-VHOST"] = []string{vhost}
	}
	if n > 1 {
		h["X-Hookline-Attempt"] = []string{strconv.Itoa(n)}
	}
	return h
}
