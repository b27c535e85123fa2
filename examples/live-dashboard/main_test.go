package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

func get(t *testing.T, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// live returns the streams of a list, with their states.
func live(t *testing.T, b []byte) (out []string) {
	t.Helper()
	var list []view
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	for _, v := range list {
		out = append(out, v.Stream+" "+v.State)
	}
	slices.Sort(out)
	return out
}

func TestDashboard(t *testing.T) {
	kit, err := receiver.New()
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(newDashboard(kit))
	defer web.Close()
	s := receivertest.New(kit)
	for _, e := range slices.Concat([]*receivertest.Event{s.Register("live/a", "rtmp")}, s.Publication("live/b")) {
		s.Send(e)
	}
	lines := bufio.NewScanner(get(t, web.URL+"/events").Body)
	next := func() (name, data string) {
		t.Helper()
		for lines.Scan() {
			if v, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = v
			}
			if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return name, v
			}
		}
		t.Fatal("the stream of changes ended")
		return "", ""
	}
	if name, data := next(); name != "present" || !slices.Equal(live(t, []byte(data)), []string{"__defaultVhost__/live/a live"}) {
		t.Errorf("%s %s", name, data)
	}
	s.Send(s.Register("live/c", "rtmp"))
	if name, data := next(); name != "change" || !slices.Equal(live(t, []byte("["+data+"]")), []string{"__defaultVhost__/live/c live"}) {
		t.Errorf("%s %s", name, data)
	}
	var raw json.RawMessage
	if err := json.NewDecoder(get(t, web.URL+"/live.json").Body).Decode(&raw); err != nil {
		t.Fatal(err)
	}
	if got := live(t, raw); !slices.Equal(got, []string{"__defaultVhost__/live/a live", "__defaultVhost__/live/c live"}) {
		t.Errorf("live are %v", got)
	}
	s.Send(s.End("live/a", "kicked"))
	if _, data := next(); !strings.Contains(data, `"state":"ended"`) || !strings.Contains(data, `"reason":"kicked"`) {
		t.Errorf("the end is %s", data)
	}
	if page := bufio.NewScanner(get(t, web.URL+"/").Body); !page.Scan() || !strings.Contains(page.Text(), "<title>Live</title>") {
		t.Error("no page")
	}
	if err := kit.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for lines.Scan() { // it ends
	}
}
