package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Transport says how the receiver of an endpoint is reached.
type Transport struct {
	CAFile     string // PEM; the only authorities that count for it; empty: the system's
	ClientCert string // PEM, the certificate and its chain; with ClientKey
	ClientKey  string // PEM
	Proxy      string // http://[user:password@]host:port; empty: none
}

// transport applies the keys of Transport, and basic.
func (d *endpointDraft) transport(key, value string) (allowed string, ok bool) {
	t := &d.e.Transport
	file := func(field *string) (string, bool) {
		if *field = value; value == "" || strings.ContainsRune(value, 0) {
			return "the path of a file in PEM form", true
		}
		return "", true
	}
	switch key {
	case "ca_file":
		return file(&t.CAFile)
	case "client_cert":
		return file(&t.ClientCert)
	case "client_key":
		return file(&t.ClientKey)
	case "proxy":
		if t.Proxy = value; value == "" || !bareProxy(value) {
			return "the URL of an HTTP proxy, http://[user:password@]host:port", true
		}
		return "", true
	case "basic":
		if user, _, both := strings.Cut(value, ":"); !both || user == "" {
			return "user:password", true
		}
		d.e.Header["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(value))
		return "", true
	}
	return "", false
}

func bareProxy(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "http" && u.Hostname() != "" && (u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.Fragment == ""
}

// crossed returns what keys of the section mean nothing or contradict each other. Files and lines are left to the caller.
func (d *endpointDraft) crossed() (bad []*ValueError) {
	refuse := func(key, allowed string) {
		if value, ok := d.e.Keys[key]; ok {
			name := endpointPrefix + d.e.Name + "." + key
			bad = append(bad, &ValueError{Key: name, Value: shown(name, value), Allowed: allowed})
		}
	}
	var web, encrypted, userinfo bool
	for _, u := range d.e.URLs {
		scheme, rest, _ := strings.Cut(u, "://")
		scheme = strings.ToLower(scheme)
		web = web || scheme == "http" || scheme == "https"
		encrypted = encrypted || slices.Contains(encryptedSchemes(), scheme)
		authority, _, _ := strings.Cut(rest, "/")
		userinfo = userinfo || strings.Contains(authority, "@")
	}
	if !web {
		for _, key := range []string{"proxy", "bearer", "basic"} {
			refuse(key, "nothing: it means nothing for a queue; the queue's user and password stand in its URL")
		}
	}
	if !encrypted {
		for _, key := range []string{"ca_file", "client_cert", "client_key"} {
			refuse(key, "nothing: no URL of the endpoint is encrypted ("+strings.Join(encryptedSchemes(), ", ")+")")
		}
	}
	_, bearer := d.e.Keys["bearer"]
	_, basic := d.e.Keys["basic"]
	if web && (bearer && basic || userinfo && (bearer || basic)) {
		for _, key := range []string{"bearer", "basic"} {
			refuse(key, "one way to authenticate: user:password@ in the URL, or bearer, or basic")
		}
	}
	if t := d.e.Transport; (t.ClientCert == "") != (t.ClientKey == "") {
		refuse("client_cert", "client_key beside it")
		refuse("client_key", "client_cert beside it")
	}
	return bad
}

// encryptedSchemes are those of URLs whose servers have certificates.
func encryptedSchemes() []string {
	return []string{"https", "natss", "tls", "kafkas", "rediss", "amqps"}
}

// checkFiles looks whether the files can be used. A server starts without them and tries again at each connection: the
// files of one receiver must not keep the others from theirs.
func (e *Endpoint) checkFiles() (errs Errors) {
	refuse := func(key, value string, err error) {
		reason := "it can't be used"
		if err != nil {
			reason = err.Error()
		}
		errs = append(errs, &ValueError{
			Key: endpointPrefix + e.Name + "." + key, Value: value, Allowed: "a readable file in PEM form (" + reason + ")",
		})
	}
	t := e.Transport
	if t.CAFile != "" {
		switch pem, err := readFile(t.CAFile, MaxFileBytes); {
		case err != nil:
			refuse("ca_file", t.CAFile, plainReason(err))
		case !x509.NewCertPool().AppendCertsFromPEM(pem):
			refuse("ca_file", t.CAFile, errNoCertificate)
		}
	}
	if t.ClientCert != "" {
		cert, err := readFile(t.ClientCert, MaxFileBytes)
		if err != nil {
			refuse("client_cert", t.ClientCert, plainReason(err))
			return errs
		}
		key, err := readFile(t.ClientKey, MaxFileBytes)
		if err != nil {
			refuse("client_key", t.ClientKey, plainReason(err))
			return errs
		}
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			refuse("client_cert", t.ClientCert, errNoPair)
		}
	}
	return errs
}

var (
	errNoCertificate = errors.New("no certificate in it")
	errNoPair        = errors.New("certificate and key don't belong together, or are none")
)

// plainReason is the reason without the path and the call.
func plainReason(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}

// Shown returns the keys of the section as they may be seen: secrets, passwords and parameters of URLs are masked.
func (e *Endpoint) Shown() map[string]string {
	out := maps.Clone(e.Keys)
	for key, value := range out {
		out[key] = shown(endpointPrefix+e.Name+"."+key, value)
	}
	return out
}

// Endpoint returns the section [endpoint.NAME], or what was made by API under that name; nil when there is none.
func (c *Config) Endpoint(name string) *Endpoint {
	i, ok := slices.BinarySearchFunc(c.Endpoints, name, func(e Endpoint, name string) int { return strings.Compare(e.Name, name) })
	if !ok {
		return nil
	}
	return &c.Endpoints[i]
}
