package api

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/sequencer"
)

// fakeOperations has three live publications, three gaps and a queue.
type fakeOperations struct {
	backups []BackupInfo
	place   sequencer.Place
}

func (f *fakeOperations) Snapshot(_ context.Context, at sequencer.Place, limit int) (sequencer.Snapshot, error) {
	s := sequencer.Snapshot{Source: "me", Incarnation: "run", Epoch: 7, Index: 100, Cursor: 61}
	if at.Incarnation != "" && at.Incarnation != "run" {
		return s, sequencer.ErrPlace
	}
	f.place = at
	for i := at.Shard; i < 3; i++ {
		if len(s.Entries) == limit {
			s.Next = &sequencer.Place{Incarnation: "run", Index: 100, Cursor: 61, Shard: i}
			break
		}
		s.Entries = append(s.Entries, sequencer.LivePublication{
			Stream: fact.Stream{Vhost: "v", App: "a", Stream: fmt.Sprint(i)}, Publication: fmt.Sprint("p", i), Seq: uint64(i + 1),
			Protocol: "rtmp", Start: 1000,
		})
	}
	return s, nil
}

func (f *fakeOperations) Identity() (source, incarnation string, epoch int64) { return "me", "run", 7 }

func (f *fakeOperations) OpenGaps(endpoint string) ([]delivery.OpenGap, error) {
	var out []delivery.OpenGap
	for i, name := range []string{"hook", "billing", "hook"} {
		if endpoint == "" || endpoint == name {
			out = append(out, delivery.OpenGap{
				Endpoint: name, ID: fmt.Sprint("gap-", i), Stream: fmt.Sprint("v/a/", i), Index: 5, Time: time.Unix(1, 0), Epoch: 7,
				Gap: event.Gap{From: 1, To: 2, Count: 2, Types: []event.Type{event.OnStreamChanged}, Reason: event.ReasonRetention},
			})
		}
	}
	return out, nil
}

func (f *fakeOperations) Depth(_ string, most int) (delivery.Depth, error) {
	return delivery.Depth{Events: 2, Bytes: 20, Oldest: time.Unix(1, 0), Looked: 10, Exact: most > 5}, nil
}

func (f *fakeOperations) Retention() (Retention, error) {
	return Retention{MaxAge: time.Hour, MaxBytes: 1 << 30, Before: 11}, nil
}

func (f *fakeOperations) Backup(name string) (BackupInfo, error) {
	for _, b := range f.backups {
		if b.Name == name {
			return b, fmt.Errorf("%w: there is a backup %q", ErrConflict, name)
		}
	}
	b := BackupInfo{Name: name, Path: "/backups/" + name, Time: time.Unix(1, 0).UTC(), Bytes: 9, Last: 60}
	f.backups = append(f.backups, b)
	return b, nil
}

func (f *fakeOperations) Backups() ([]BackupInfo, error) { return f.backups, nil }

func (f *fakeOperations) RemoveBackup(name string) error {
	n := len(f.backups)
	f.backups = slices.DeleteFunc(f.backups, func(b BackupInfo) bool { return b.Name == name })
	if len(f.backups) == n {
		return ErrNoBackup
	}
	return nil
}

func TestSnapshotPages(t *testing.T) {
	w, _ := withPlatform(t)
	w.api.deps.Operations = &fakeOperations{}
	var seen []string
	cursor := ""
	for more := true; more; {
		status, m := w.get("/api/v1/snapshot?limit=2&cursor=" + cursor)
		if status != 200 || m["index_floor"] != 100.0 || m["eventsCursor"] != 61.0 {
			t.Fatalf("%d %v", status, m)
		}
		for _, e := range m["streams"].([]any) {
			seen = append(seen, e.(map[string]any)["stream"].(string))
		}
		cursor, _ = m["cursor"].(string)
		more = m["more"].(bool)
	}
	if strings.Join(seen, " ") != "v/a/0 v/a/1 v/a/2" {
		t.Error(seen)
	}
	other, err := placeText(&sequencer.Place{Incarnation: "another run"})
	if err != nil {
		t.Fatal(err)
	}
	if status, m := w.get("/api/v1/snapshot?cursor=" + other); status != 409 || m["code"] != ProblemRestarted {
		t.Errorf("%d %v", status, m)
	}
	for _, bad := range []string{"x", "e30", "%00", url.QueryEscape(strings.Repeat("A", maxPlace+1)), "bnVsbA"} {
		if status, m := w.get("/api/v1/snapshot?cursor=" + bad); status != 400 || m["code"] != ProblemParameter {
			t.Errorf("%.20s: %d %v", bad, status, m)
		}
	}
}

// Who has the newest gets 304.
func TestSnapshotTag(t *testing.T) {
	synctest.Test(t, snapshotTag) // in virtual time: an answer holds the age of what waits
}

func snapshotTag(t *testing.T) {
	w, _ := withPlatform(t)
	w.api.deps.Operations = &fakeOperations{}
	for _, path := range []string{"/snapshot", "/endpoints", "/events/inc-66"} {
		r := request(t, "GET", "/api/v1"+path, "", "")
		r.Header.Set("Secret", testSecret)
		tag := w.serve(r).Header().Get("ETag")
		r.Header.Set("If-None-Match", `"x", W/`+tag)
		if rec := w.serve(r); tag == "" || rec.Code != 304 || rec.Body.Len() > 0 {
			t.Errorf("%s: %q %d", path, tag, rec.Code)
		}
	}
}

func TestGapsAndQueues(t *testing.T) {
	w, _ := withPlatform(t)
	w.api.deps.Operations = &fakeOperations{}
	ids := func(query string) string {
		status, m := w.get("/api/v1/gaps?" + query)
		if status != 200 {
			t.Fatalf("%s: %d %v", query, status, m)
		}
		var out []string
		for _, g := range m["gaps"].([]any) {
			out = append(out, g.(map[string]any)["id"].(string))
		}
		return fmt.Sprint(out, m["more"])
	}
	_, page := w.get("/api/v1/gaps?limit=2")
	for query, want := range map[string]string{
		"": "[gap-1 gap-0 gap-2] false", "endpoint=hook": "[gap-0 gap-2] false", "stream=v/a/1": "[gap-1] false",
		"limit=2": "[gap-1 gap-0] true", "cursor=" + url.QueryEscape(page["cursor"].(string)): "[gap-2] false", "endpoint=none": "[] false",
	} {
		if got := ids(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	for _, bad := range []string{"endpoint=%00", "cursor=%0a", "limit=0", "stream=" + strings.Repeat("s", maxGapCursor+1)} {
		if status, _ := w.get("/api/v1/gaps?" + bad); status != 400 {
			t.Errorf("%.20s: %d", bad, status)
		}
	}
	_, m := w.get("/api/v1/queues?limit=1")
	if q := m["queues"].([]any); len(q) != 1 || m["more"] != true {
		t.Errorf("%v", m)
	}
	if _, m = w.get("/api/v1/queues?cursor=" + m["cursor"].(string)); len(m["queues"].([]any)) == 0 {
		t.Errorf("%v", m)
	}
	if _, m := w.get("/api/v1/journal"); m["retention"].(map[string]any)["events"] != 10.0 {
		t.Errorf("%v", m)
	}
}

// Without somebody who knows there is nothing to ask.
func TestNoOperations(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"snapshot", "gaps", "queues", "backups"} {
		if status, _ := w.get("/api/v1/" + path); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// A client whose journal was wiped or restored is told, and goes on with what it can't have seen.
func TestResumeAfterRestore(t *testing.T) {
	w := newWorld(t)
	for i := range uint64(20) {
		r := record("v/a/1", i+1, i+1, event.OnStreamChanged, time.Unix(int64(i), 0))
		if i >= 10 {
			r.Epoch = 9 // restored from a backup of 10 events
		}
		w.raise(r)
	}
	for _, c := range []struct {
		cursor, epoch, from int
		gap                 string
	}{
		{5, 7, 5, ""},                 // behind: all of it is of the same history
		{11, 7, 11, ""},               // exactly at the backup
		{12, 7, 11, "[11 11 reset]"},  // had read one that is lost
		{31, 7, 11, "[21 30 reset]"},  // far ahead
		{15, 9, 15, ""},               // of the new history
		{1, 7, 1, ""},                 // from the beginning
		{15, 0, 15, ""},               // does not know: believed
		{31, 0, 1, "[21 30 reset]"},   // does not know, but can't be
		{15, 12, 21, "[14 14 reset]"}, // of a history that is not here: nothing is newer
	} {
		_, m := w.get(fmt.Sprintf("/api/v1/events?cursor=%d&epoch=%d", c.cursor, c.epoch))
		got := ""
		if g, ok := m["gap"].(map[string]any); ok {
			got = fmt.Sprint([]any{g["from"], g["to"], g["reason"]})
		}
		first := 21
		if p := positions(m); len(p) > 0 {
			first = p[0]
		}
		if got != c.gap || first != c.from || m["cursor"] != 21.0 || m["epoch"] != 9.0 {
			t.Errorf("%+v: from %d, gap %q, cursor %v, epoch %v", c, first, got, m["cursor"], m["epoch"])
		}
	}
}
