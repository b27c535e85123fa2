package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"net"
	"strings"

	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/queue"
	"github.com/hookline/hookline/internal/webhook"
)

// transport is how one endpoint reaches its receiver, where that is not the usual way.
type transport struct {
	config.Transport
	// guarded: it was not written by the operator, so it goes to public addresses only and follows no redirect.
	guarded bool
}

// transportOf returns the transport of an endpoint.
func transportOf(c *config.Config, name string) transport {
	e := c.Endpoint(name)
	if e == nil {
		return transport{}
	}
	return transport{Transport: e.Transport, guarded: e.Made && !c.API.AllowPrivateEndpoints}
}

// way is a transport that is in use.
type way struct {
	transport
	client *webhook.Client
	queue  queue.Options
}

// newWay builds the clients of a transport.
func newWay(t transport, base webhook.Config, log *slog.Logger) *way {
	w := &way{transport: t}
	base.Proxy = t.Proxy
	if t.guarded {
		base.Guard, base.MaxRedirects = webhook.PublicOnly, -1
		w.queue.Dial = (&net.Dialer{ControlContext: webhook.Control(webhook.PublicOnly)}).DialContext
	}
	if t.CAFile != "" || t.ClientCert != "" {
		files := &webhook.Credentials{CAFile: t.CAFile, CertFile: t.ClientCert, KeyFile: t.ClientKey, Log: log}
		base.TLS = files.TLS
		w.queue.TLS = queueTLS(files)
	}
	w.client = webhook.New(base)
	return w
}

// queueTLS is for clients that take one configuration for their life: the certificate follows its files, the authorities
// are those of when the queue was opened.
func queueTLS(files *webhook.Credentials) *tls.Config {
	now, err := files.TLS()
	if err != nil {
		// The first handshake says so.
		now = &tls.Config{MinVersion: tls.VersionTLS12, VerifyConnection: func(tls.ConnectionState) error { return err }}
	}
	cfg := now.Clone()
	cfg.Certificates = nil
	if files.CertFile != "" {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			now, err := files.TLS()
			if err != nil {
				return nil, err
			}
			return &now.Certificates[0], nil
		}
	}
	return cfg
}

// configure gives an endpoint its transport. What is under way is tried again over the new one. Only the endpoints'
// owner calls it.
func (r *router) configure(name string, t transport) {
	old := (*r.ways.Load())[name]
	if old == nil && t == (transport{}) || old != nil && old.transport == t {
		return
	}
	ways := maps.Clone(*r.ways.Load())
	delete(ways, name)
	if t != (transport{}) {
		ways[name] = newWay(t, r.base, r.log.With("endpoint", name))
	}
	r.ways.Store(&ways)
	if old != nil {
		_ = old.client.Close() // it only closes idle connections
	}
	r.closeQueues(func(endpoint, _ string) bool {
		return endpoint == name || strings.HasPrefix(endpoint, name+"/")
	})
}

// keep closes the queues of an endpoint whose URLs it does not name any more.
func (r *router) keep(name string, urls map[string]bool) {
	r.closeQueues(func(endpoint, url string) bool { return endpoint == name && !urls[url] })
}

// wayOf returns the transport of an endpoint, or of the one that a replay is for; nil: the usual one.
func (r *router) wayOf(endpoint string) *way {
	ways := *r.ways.Load()
	if len(ways) == 0 {
		return nil
	}
	if w := ways[endpoint]; w != nil {
		return w
	}
	name, _, replay := strings.Cut(endpoint, "/")
	if !replay {
		return nil
	}
	return ways[name]
}

// open opens a queue the endpoint's way.
func (r *router) open(req *webhook.Request) (queue.Destination, error) {
	opt := queue.Options{}
	if w := r.wayOf(req.Meta.Endpoint); w != nil {
		opt = w.queue
	}
	opt.Logger = r.log.With("endpoint", req.Meta.Endpoint)
	return queue.Open(context.Background(), req.URL, opt)
}
