package queue_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/queue"
)

func TestMain(m *testing.M) {
	queue.DiscardClientLogs()
	leaktest.Main(m)
}

// nobody is an address on which nothing listens.
const nobody = "127.0.0.1:1"

func TestOpen(t *testing.T) {
	for _, scheme := range queue.Schemes() {
		rawURL := strings.ToUpper(scheme) + "://u:secret@" + nobody + "/1"
		if !queue.IsQueue(rawURL) {
			t.Errorf("%s is not known", scheme)
		}
		d, err := queue.Open(context.Background(), rawURL, queue.Options{})
		if err != nil {
			t.Errorf("%s: %v", scheme, err)
			continue
		}
		if got := d.String(); got != scheme+"://***@"+nobody+"/1" || got != queue.Redact(rawURL) {
			t.Errorf("%s: %s", scheme, got)
		}
		if err := d.Publish(t.Context(), queue.Message{ID: "x"}); !errors.Is(err, queue.ErrUnavailable) {
			t.Errorf("%s: %v", scheme, err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, rawURL := range []string{
		"", "http://u:secret@h", "kafka", "nats://u:secret@h/a b", "nats://h/$SYS", "nats://h/a..b", "nats://h/a?stream=a.b", "nats://h?replicas=9",
		"nats://h/a*", "kafka://h/to/pic", "kafka://h/..", "kafka://h?sasl=gssapi", "kafka://h?linger=1m", "redis://a,b", "redis://h/x",
		"redis://h/-1", "redis://h?layout=both", "redis://h?maxlen=-1", "amqp://h?exchange=" + strings.Repeat("x", 256), "amqp://h?auth=none",
		"amqp://u:sec ret@h/?declare=2", "rediss://u:secret@h?unknown=secret",
	} {
		d, err := queue.Open(context.Background(), rawURL, queue.Options{})
		if !errors.Is(err, queue.ErrURL) {
			t.Errorf("%.60s: %v, %v", rawURL, d, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%.60s: %v", rawURL, err)
		}
	}
	for _, rawURL := range []string{"http://h", "nats", ""} {
		if queue.IsQueue(rawURL) {
			t.Errorf("%q is no queue", rawURL)
		}
	}
}

func TestRedact(t *testing.T) {
	for raw, want := range map[string]string{
		"nats://u:p@h,i:2/x?creds=f": "nats://***@h,i:2/x",
		"redis://h":                  "redis://h/",
		"amqp://u:p/q@h":             "amqp://***",
		"u:p@h":                      "://***",
	} {
		if got := queue.Redact(raw); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}
