package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

type endpointsAddCmd struct {
	Name string   `arg:"" help:"Its name: a-z, 0-9, _ and -."`
	URL  string   `arg:"" help:"Where events go: http, https, or a queue."`
	Keys []string `arg:"" optional:"" name:"key=value" help:"Other keys of a section, like events=on_flow_report."`
}

// Run implements the command.
func (a *endpointsAddCmd) Run(c *endpointsCmd, out io.Writer) error {
	body, err := keyValues(a.Keys, os.Stdin)
	if err != nil {
		return err
	}
	body["name"], body["url"] = a.Name, a.URL
	var e endpointLine
	if err := c.call(context.Background(), http.MethodPost, "/api/v1/endpoints", nil, body, &e); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s is %s, lag %d\n", e.Name, e.State, e.Lag)
	return err
}

type endpointsSetCmd struct {
	Name string   `arg:"" help:"The endpoint's name."`
	Keys []string `arg:"" name:"key=value" help:"Keys of a section; without a value: taken away."`
}

// Run implements the command.
func (s *endpointsSetCmd) Run(c *endpointsCmd, out io.Writer) error {
	body, err := keyValues(s.Keys, os.Stdin)
	if err != nil {
		return err
	}
	var e endpointLine
	if err := c.call(context.Background(), http.MethodPatch, "/api/v1/endpoints/"+segment(s.Name), nil, body, &e); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s is %s, lag %d\n", e.Name, e.State, e.Lag)
	return err
}

type endpointsRmCmd struct {
	Name string `arg:"" help:"The endpoint's name."`
}

// Run implements the command.
func (r *endpointsRmCmd) Run(c *endpointsCmd, out io.Writer) error {
	if err := c.call(context.Background(), http.MethodDelete, "/api/v1/endpoints/"+segment(r.Name), nil, nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s is removed; its dead letters stay\n", r.Name)
	return err
}

// errKeyValue says what an argument looks like.
var errKeyValue = errors.New("want KEY=VALUE, like rate=50, KEY=@FILE, or KEY= to take the key away")

// keyValues reads arguments; nothing of a value is in an error.
func keyValues(args []string, stdin io.Reader) (map[string]any, error) {
	body := map[string]any{}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, errKeyValue
		}
		file, fromFile := strings.CutPrefix(value, "@")
		switch {
		case value == "":
			body[key] = nil
		case fromFile:
			b, err := valueOf(file, stdin)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			body[key] = b
		default:
			body[key] = value
		}
	}
	return body, nil
}

// valueOf reads a value from a file, or from standard input for "-".
func valueOf(file string, stdin io.Reader) (string, error) {
	const most = 8 << 10
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // named on the command line
		if err != nil {
			return "", err
		}
		defer f.Close()
		stdin = f
	}
	b, err := io.ReadAll(io.LimitReader(stdin, most))
	return string(bytes.TrimSpace(b)), err
}
