package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/hookline/hookline/internal/api"
	"github.com/hookline/hookline/internal/config"
)

// version names the definition of an endpoint in this run.
func (p *platform) version(x *config.Endpoint) string {
	h := hmac.New(sha256.New, p.tagKey[:])
	_, _ = fmt.Fprintf(h, "%v %q", x.Made, x.Keys) // a hash takes everything; maps print sorted
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// allowed asks the caller with the version of what is there.
func (p *platform) allowed(allow func(version string) error) func(*config.Endpoint) error {
	return func(now *config.Endpoint) error {
		version := ""
		if now != nil {
			version = p.version(now)
		}
		return allow(version)
	}
}

// Define implements api.Platform.
func (p *platform) Define(d api.Definition) (created bool, err error) {
	created, err = p.s.store.EditEndpoint(config.EndpointEdit{
		Name: d.Name, Keys: d.Keys, Replace: d.Replace, Allow: p.allowed(d.Allow),
	})
	if err != nil {
		return false, p.refused(d.Name, err)
	}
	// It is in effect, unless the journal could not be written.
	if _, err := p.endpoint(d.Name); err != nil {
		return created, fmt.Errorf("endpoint %s is defined but could not be started", d.Name)
	}
	p.s.log.Info("endpoint defined by API", "endpoint", d.Name, "new", created)
	return created, nil
}

// Remove implements api.Platform.
func (p *platform) Remove(name string, allow func(version string) error) error {
	if err := p.s.store.RemoveEndpoint(name, p.allowed(allow)); err != nil {
		return p.refused(name, err)
	}
	return nil
}

// refused translates the errors of the configuration.
func (p *platform) refused(name string, err error) error {
	var errs config.Errors
	switch {
	case errors.Is(err, config.ErrNoEndpoint):
		return fmt.Errorf("%w: %q", api.ErrNoEndpoint, name)
	case errors.Is(err, config.ErrFileEndpoint):
		return fmt.Errorf("%w: [endpoint.%s] is a section of the config file; change it there", api.ErrConflict, name)
	case !errors.As(err, &errs):
		return err
	}
	var bad api.FieldErrors
	for _, e := range errs {
		field := strings.TrimPrefix(e.Key, "endpoint."+name)
		if field = strings.TrimPrefix(field, "."); field == "" || field == e.Key {
			field = "name"
		}
		bad = append(bad, api.FieldError{Field: field, Allowed: e.Allowed})
	}
	return bad
}
