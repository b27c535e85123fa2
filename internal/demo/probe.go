package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/receivertool"
)

// What is measured: some bursts of a few events, as the end of a stream raises them.
const (
	probeBursts = 50
	probeBurst  = 4
)

// probe measures how long an event takes to an idle receiver on a connection and a thread of its own.
func probe(ctx context.Context) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var mu sync.Mutex
	arrived := map[string]time.Time{}
	r, err := receivertool.Start(ctx, receivertool.Config{OnEvent: func(got receivertool.Received) {
		mu.Lock()
		defer mu.Unlock()
		arrived[got.Parsed.Stream] = got.Time
	}})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	url := r.URL(event.OnStreamChanged)
	var delays []time.Duration
	for burst := range probeBursts {
		sent := map[string]time.Time{}
		var wg sync.WaitGroup
		failed := make(chan error, probeBurst)
		for i := range probeBurst {
			name := fmt.Sprintf("%d-%d", burst, i)
			sent[name] = time.Now()
			wg.Go(func() { failed <- postOnce(ctx, url, name) })
		}
		wg.Wait()
		close(failed)
		for err := range failed {
			if err != nil {
				return nil, fmt.Errorf("measuring the receiver: %w", err)
			}
		}
		mu.Lock()
		for name, at := range sent {
			delays = append(delays, arrived[name].Sub(at))
		}
		mu.Unlock()
	}
	return delays, nil
}

// postOnce sends on a connection of its own.
func postOnce(ctx context.Context, url, name string) error {
	body := `{"stream":"` + name + `"}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	t := &http.Transport{DisableKeepAlives: true}
	defer t.CloseIdleConnections()
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}
