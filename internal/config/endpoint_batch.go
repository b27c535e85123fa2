package config

import (
	"strconv"
	"time"
)

// Bounds of the keys of batches. What a batch holds is in memory once for each request in flight.
const (
	maxBatchEvents = 1000
	minBatchBytes  = 4 << 10
	maxBatchBytes  = 8 << 20
	maxBatchWait   = 10_000 // ms
)

// batch applies batch, batch_bytes or batch_wait_ms.
func (d *endpointDraft) batch(key, value string) (allowed string) {
	n, err := strconv.Atoi(value)
	within := func(low, high int) bool { return err == nil && n >= low && n <= high }
	switch {
	case key == "batch" && within(1, maxBatchEvents):
		d.e.Batch = n
	case key == "batch":
		return "1 (one by one) to 1000 events per request"
	case key == "batch_bytes" && within(minBatchBytes, maxBatchBytes):
		d.e.BatchBytes = n
	case key == "batch_bytes":
		return "4096 to 8388608 bytes"
	case within(0, maxBatchWait):
		d.e.BatchWait = time.Duration(n) * time.Millisecond
	default:
		return "0 to 10000 ms"
	}
	return ""
}

// noBatch says why the endpoint can't have its batches, or "".
func (e *Endpoint) noBatch() string {
	if e.Batch < 2 {
		return ""
	}
	if e.Format != "cloudevents" {
		return "1 with format=zlm: a hook of ZLMediaKit is one event; batches need format=cloudevents"
	}
	for _, u := range e.URLs {
		if queueURL(u) {
			return "1 with the URL of a queue: there each event is a message of its own key"
		}
	}
	return ""
}
