package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/webhook"
)

// post sends one body and returns when it was answered.
type post func(ctx context.Context, body []byte) error

var errAnswer = errors.New("the receiver did not accept")

// netHTTP is the raw ceiling: net/http's keep-alive client, tuned to keep its connections, and nothing else.
func netHTTP(url string) (send post, stop func()) {
	t := &http.Transport{MaxIdleConns: 0, MaxIdleConnsPerHost: 2 * concurrency, DisableCompression: true}
	client := &http.Client{Transport: t, Timeout: 10 * time.Second}
	send = func(ctx context.Context, body []byte) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		err = errors.Join(err, res.Body.Close())
		if err == nil && res.StatusCode != http.StatusOK {
			return errAnswer
		}
		return err
	}
	return send, t.CloseIdleConnections
}

// ownClient is the product's client without order and without a journal.
func ownClient(url string) (send post, stop func()) {
	c := webhook.New(webhook.Config{})
	send = func(ctx context.Context, body []byte) error {
		rep := c.Send(ctx, webhook.Request{URL: url, Body: body, Timeout: 10 * time.Second})
		if class, _, msg := webhook.Classify(rep); class != webhook.Accepted {
			return fmt.Errorf("%w: %s", errAnswer, msg)
		}
		return nil
	}
	return send, func() { _ = c.Close() }
}

// unordered sends n bodies with the usual number in flight and returns the rate.
func unordered(ctx context.Context, send post, n int) (float64, error) {
	body := []byte(`{"pad":"` + string(bytes.Repeat([]byte{'x'}, bodySize-10)) + `"}`)
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, concurrency)
	start := time.Now()
	for w := range concurrency {
		wg.Go(func() {
			for next.Add(1) <= int64(n) && errs[w] == nil {
				errs[w] = send(ctx, body)
			}
		})
	}
	wg.Wait()
	return perSecond(n, time.Since(start)), errors.Join(errs...)
}
