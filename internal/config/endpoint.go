package config

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
)

// Endpoint is [endpoint.NAME], Hookline's own: a receiver beside the hook.on_* URLs.
type Endpoint struct {
	Name string // its identity; the URL may change
	// URLs by event type: url for all that events selects, or a key named like the hook for one.
	URLs        map[event.Type]string
	Streams     []string          // patterns of stream keys; empty: all
	Format      string            // zlm or cloudevents; zlm
	Secrets     []string          // whsec_ and whsk_ keys that sign each request; none: not signed
	Header      map[string]string // header.NAME = VALUE
	History     bool              // outcomes of decisions, too; 0
	Timeout     time.Duration     // of one attempt; hook.timeoutSec
	Concurrency int               // delivery.concurrency
	Rate        float64           // requests per second; 0: no limit
	Batch       int               // events per request, with cloudevents; 1: one by one
	BatchBytes  int               // about as many in a batch; 524288
	BatchWait   time.Duration     // for a batch to fill; 0
	Policy      string            // delivery.policy
	Paused      bool              // 0
	Start       string            // now, beginning or a time (RFC 3339), for an endpoint that is new; now
	Transport   Transport         // how its receiver is reached
	// Made says that it was made by API and not written by the operator.
	Made bool
	// Keys are the keys of its section as they are written, secrets included.
	Keys map[string]string
}

const (
	endpointPrefix = "endpoint."
	// hookEndpoint is what the hook.on_* URLs form; no section has its name.
	hookEndpoint  = "hook"
	endpointNames = "a section [endpoint.NAME]; NAME is of a-z, 0-9, _ and -, and not \"hook\""
	// masked stands for a secret where the configuration is shown.
	masked = "***"
	// MaxEndpoints bounds the [endpoint.NAME] sections.
	MaxEndpoints = 1000
)

// endpointDraft collects the keys of one section.
type endpointDraft struct {
	e      Endpoint
	url    string
	events []string
	own    map[event.Type]string
	src    source
}

// splitEndpoint takes "endpoint.NAME.KEY" apart.
func splitEndpoint(name string) (endpoint, key string, ok bool) {
	rest, ok := strings.CutPrefix(name, endpointPrefix)
	if !ok {
		return "", "", false
	}
	endpoint, key, ok = strings.Cut(rest, ".")
	return endpoint, key, ok
}

// secretKey says whether a key holds what must not be shown.
func secretKey(name string) bool {
	if name == keyHookSecret {
		return true
	}
	if strings.HasPrefix(name, tokenPrefix) {
		return true
	}
	_, key, ok := splitEndpoint(name)
	return ok && (key == "secret" || key == "bearer" || key == "basic" || strings.HasPrefix(key, "header."))
}

// shown returns a value as it may be seen by others: secrets are masked, and so are user, password and parameters in the
// URL of an endpoint.
func shown(name, value string) string {
	if value == "" {
		return value
	}
	if secretKey(name) {
		return masked
	}
	isURL := strings.Contains(value, "@") || strings.Contains(value, "?") && strings.Contains(value, "://")
	if !strings.HasPrefix(name, endpointPrefix) || !isURL {
		return value
	}
	u, err := url.Parse(value)
	if err != nil {
		return masked
	}
	if u.User != nil {
		u.User = url.User(masked)
	}
	if u.RawQuery != "" && !queueURL(value) {
		u.RawQuery = masked
	}
	return u.String()
}

var endpointName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// endpointValue applies one key. It returns what is allowed when the value is not.
func endpointValue(d *endpointDraft, key, value string) (allowed string) {
	fail := func(err error, allowed string) string {
		if err != nil {
			return allowed
		}
		return ""
	}
	var err error
	switch key {
	case "url":
		d.url = value
		if value == "" || !validURL(value) && !queueURL(value) {
			return "an http:// or https:// URL, or the URL of a queue: " + strings.Join(queueSchemes(), ", ")
		}
	case "events":
		d.events = list(value)
		for _, p := range d.events {
			if _, err := path.Match(p, ""); err != nil || len(matching(p)) == 0 {
				return "a comma list of hook names or patterns like on_record_*; allowed hooks: " + typeNames()
			}
		}
	case "streams":
		d.e.Streams = list(value)
	case "format":
		d.e.Format = value
		if value != "zlm" && value != "cloudevents" {
			return "zlm or cloudevents"
		}
	case "secret":
		d.e.Secrets = list(value)
		_, err = event.ParseSigner(d.e.Secrets)
		return fail(err, "a comma list of whsec_ secrets and whsk_ signing keys (Standard Webhooks)")
	case "bearer":
		d.e.Header["Authorization"] = "Bearer " + value
	case "history":
		d.e.History, err = parseBool(value)
		return fail(err, "0 or 1")
	case "paused":
		d.e.Paused, err = parseBool(value)
		return fail(err, "0 or 1")
	case "timeout_ms":
		var ms int
		ms, err = strconv.Atoi(value)
		d.e.Timeout = time.Duration(ms) * time.Millisecond
		if err != nil || ms < 1 || ms > 600000 {
			return "1 to 600000 ms"
		}
	case "concurrency":
		d.e.Concurrency, err = strconv.Atoi(value)
		if err != nil || d.e.Concurrency < 1 || d.e.Concurrency > 64 {
			return "1 to 64"
		}
	case "rate":
		d.e.Rate, err = parseNumber(value)
		if err != nil || d.e.Rate < 0 || d.e.Rate > 1e6 {
			return "0 (no limit) to 1000000 requests per second"
		}
	case "batch":
		return d.batch(key, value)
	case "batch_bytes":
		return d.batch(key, value)
	case "batch_wait_ms":
		return d.batch(key, value)
	case "policy":
		d.e.Policy = value
		if !slices.Contains([]string{"default", "block", "skip"}, value) {
			return "default, block or skip"
		}
	case "start":
		d.e.Start = value
		if _, err := time.Parse(time.RFC3339, value); err != nil && value != "now" && value != "beginning" {
			return "now, beginning, or a time like 2026-01-02T03:04:05Z"
		}
	default:
		return d.other(key, value)
	}
	return ""
}

// other applies header.NAME and the URL of one hook.
func (d *endpointDraft) other(key, value string) (allowed string) {
	if allowed, ok := d.transport(key, value); ok {
		return allowed
	}
	if name, ok := strings.CutPrefix(key, "header."); ok {
		if name == "" || strings.ContainsAny(name, ": \t") {
			return "header.NAME = VALUE"
		}
		d.e.Header[name] = value
		return ""
	}
	if t := event.Type(key); slices.Contains(event.Types(), t) {
		d.own[t] = value
		if !validURL(value) {
			return "empty, or an http:// or https:// URL with a host"
		}
		return ""
	}
	return "one of the keys url, events, streams, format, secret, bearer, basic, header.NAME, ca_file, client_cert, client_key, " +
		"proxy, history, timeout_ms, concurrency, rate, batch, batch_bytes, batch_wait_ms, policy, paused, start, or a hook " +
		"with a URL of its own"
}

// queueSchemes are those of NATS JetStream, Kafka, Redis Streams and RabbitMQ.
func queueSchemes() []string {
	return []string{"nats", "natss", "tls", "kafka", "kafkas", "redis", "rediss", "amqp", "amqps"}
}

func queueURL(s string) bool {
	scheme, rest, ok := strings.Cut(s, "://")
	return ok && rest != "" && slices.Contains(queueSchemes(), strings.ToLower(scheme))
}

func list(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// matching returns the types that a pattern selects.
func matching(pattern string) []event.Type {
	var out []event.Type
	for _, t := range event.Types() {
		if ok, err := path.Match(pattern, string(t)); err == nil && ok {
			out = append(out, t)
		}
	}
	return out
}

func typeNames() string {
	var names []string
	for _, t := range event.Types() {
		names = append(names, string(t))
	}
	return strings.Join(names, ", ")
}

// endpointKey takes a key of an [endpoint.NAME] section. It returns what is allowed when it is not.
func (b *builder) endpointKey(name, value string, src source) (allowed string) {
	endpoint, key, ok := splitEndpoint(name)
	if !ok || !endpointName.MatchString(endpoint) || endpoint == hookEndpoint {
		return endpointNames
	}
	d := b.drafts[endpoint]
	if d == nil {
		d = &endpointDraft{src: src, own: map[event.Type]string{}}
		d.e = Endpoint{Name: endpoint, Format: "zlm", Start: "now", Header: map[string]string{}, Keys: map[string]string{}}
		if b.drafts == nil {
			b.drafts = map[string]*endpointDraft{}
		}
		b.drafts[endpoint] = d
	}
	d.e.Keys[key] = value
	return endpointValue(d, key, value)
}

// endpoints completes the sections.
func (b *builder) endpoints() {
	if len(b.drafts) > MaxEndpoints {
		b.refuse(b.c.path, 0, "endpoint", strconv.Itoa(len(b.drafts)), fmt.Sprintf("at most %d sections [endpoint.NAME]", MaxEndpoints))
		return
	}
	for _, name := range slices.Sorted(maps.Keys(b.headers)) {
		if b.drafts[name] == nil {
			b.warn(b.c.path, b.headers[name], endpointPrefix+name, "an empty section is no endpoint; it needs a url")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.drafts)) {
		d := b.drafts[name]
		d.e.URLs = map[event.Type]string{}
		if d.url != "" {
			for _, p := range d.events {
				for _, t := range matching(p) {
					d.e.URLs[t] = d.url
				}
			}
			if len(d.events) == 0 {
				// Everything but the heartbeat, the event that carries the API's secret, and what the operators do: they
				// have to be named.
				for _, t := range event.Types() {
					d.e.URLs[t] = d.url
				}
				delete(d.e.URLs, event.OnServerKeepalive)
				delete(d.e.URLs, event.OnServerStarted)
				delete(d.e.URLs, event.OnAdminAction)
			}
			d.e.URLs[event.OnEventGap] = d.url
		}
		maps.Copy(d.e.URLs, d.own)
		if len(d.e.URLs) == 0 {
			b.refuse(d.src.file, d.src.line, endpointPrefix+name+".url", "", "an http or https URL; the section has none")
			continue
		}
		if why := d.e.noBatch(); why != "" {
			b.refuse(d.src.file, d.src.line, endpointPrefix+name+".batch", strconv.Itoa(d.e.Batch), why)
			continue
		}
		for _, bad := range d.crossed() {
			src := b.c.sources[bad.Key]
			bad.File, bad.Line = src.file, src.line
			b.errs = append(b.errs, bad)
		}
		for _, bad := range d.e.checkFiles() {
			src := b.c.sources[bad.Key]
			b.warn(src.file, src.line, bad.Key, "attempts fail until it is "+bad.Allowed)
		}
		b.c.Endpoints = append(b.c.Endpoints, d.e)
	}
}

// keyHookSecret signs the requests to the hook.on_* URLs.
const keyHookSecret = "hook.secret"

func signingKey() Key {
	return newKey(KindString, keyHookSecret, "", Now, "signs every request to the hook.on_* URLs (Standard Webhooks)",
		"empty, or a comma list of whsec_ secrets and whsk_ signing keys",
		func(c *Config, v string) error {
			c.Hook.Secrets = list(v)
			if v == "" {
				return nil
			}
			_, err := event.ParseSigner(c.Hook.Secrets)
			return err
		})
}
