package receiver

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
)

// wellKnown are bodies, and whether the scanner reads them itself.
func wellKnown() map[string]bool {
	const env = `{"id":"r-7","type":"on_stream_changed","source":"直播","incarnation":"r","epoch":1767319445678,"stream":"v/live/a","publication":"p",` +
		`"seq":17,"prev":15,"time":"2026-01-02T03:04:05.678901234Z"}`
	deep := strings.Repeat("[", maxDepth+3) + strings.Repeat("]", maxDepth+3)
	return map[string]bool{
		`{"schema":"rtmp","regist":true,"tracks":[{"fps":25.5e-1,"x":[],"y":{}, "z":null}],"hook_index":7,"event":` + env + `}`:     true,
		" {\t\"event\" : " + env + " ,\r\n\"hook_index\" : 0 } \n":                                                                  true,
		`{"event":{"id":"\u00e4\ud83d\ude00\n","after":0,"compensation":true,"late":false,"replay":"x","gap":[{"from":1,"to":2}]}}`: true,
		`{"a":"\"\\\/\b\f\n\r\t\u12aF","b":[true,false,null,-0,-1.5E+10,0.1,1e-5],"c":{"d":{}}}`:                                    true,
		`{}`: true,
		`{"schema":"rtmp","regist":false,"params":"a=1","originTypeStr":"rtmp_push","totalReaderCount":3,"originSock":{"peer_ip":"::1","peer_port":1}}`: true,
		// Unusual: encoding/json reads them.
		`{"Event":` + env + `}`:                     false,
		`{"hooK_index":1}`:                          false,
		`{"HOOK_INDEX":1}`:                          false,
		`{"hook_index":1,"hook_index":2}`:           false,
		`{"event":{"id":"a"},"event":{"type":"b"}}`: false,
		`{"event":null}`:                            false,
		`{"event":{"seq":18446744073709551615}}`:    false,
		`{"ev\u0065nt":{}}`:                         false,
		`{"hook_index":1.0}`:                        false,
		`{"hook_index":"1"}`:                        false,
		`{"event":{"prev":null}}`:                   false,
		`{"直":1}`:                                   false,
		`{"a":` + deep + `}`:                        false,
		// Wrong.
		`{"event":{"time":"yesterday"}}`: false, `{"event":{"gap":{}}}`: false, `{"event":{"id":1}}`: false, `{"event":[]}`: false,
		``: false, `[]`: false, `{`: false, `{"a"}`: false, `{"a":}`: false, `{"a":1,}`: false, `{"a":1}x`: false, `{"a":01}`: false, `{"a":1.}`: false,
		`{"a":-}`: false, `{"a":1e}`: false, `{"a":+1}`: false, `{"a":tru}`: false, "{\"a\":\"\n\"}": false, `{"a":"\x"}`: false, `{"a":"\u12g4"}`: false, `{"a":"`: false,
		`{"a":[1,]}`: false, `{"a":[1 2]}`: false, `{"a":nul}`: false, `{'a':1}`: false, `{"a":"\`: false, `{"a":"\u1`: false, `{"hook_index":-1}`: false, `{"hook_index":00}`: false,
	}
}

// agreed holds what the scanner reads against what encoding/json reads.
func agreed(t *testing.T, body []byte) (scanned bool) {
	t.Helper()
	var want struct {
		Event *event.Envelope `json:"event"`
		Index uint64          `json:"hook_index"`
	}
	wrong := json.Unmarshal(body, &want)
	b, ok := scanBody(body)
	if ok {
		var got *event.Envelope
		if b.given {
			got = &b.event
		}
		if wrong != nil || b.index != want.Index || !reflect.DeepEqual(got, want.Event) {
			t.Errorf("%q: %+v, encoding/json reads %+v, %v", body, b, want.Event, wrong)
		}
	}
	c, known := scanChanged(body)
	if !known {
		return ok
	}
	if !json.Valid(body) {
		t.Errorf("%q is no JSON", body)
	}
	var full struct {
		Schema           string `json:"schema"`
		Regist           bool   `json:"regist"`
		Params           string `json:"params"`
		OriginTypeStr    string `json:"originTypeStr"`
		TotalReaderCount int    `json:"totalReaderCount"`
		OriginSock       *struct {
			IP string `json:"peer_ip"`
		} `json:"originSock"`
	}
	err := json.Unmarshal(body, &full)
	ip, wantIP := "", ""
	if c.OriginSock != nil {
		ip = c.OriginSock.PeerIP
	}
	if full.OriginSock != nil {
		wantIP = full.OriginSock.IP
	}
	if err != nil || c.Schema != full.Schema || c.Regist != full.Regist || c.Params != full.Params || c.OriginTypeStr != full.OriginTypeStr ||
		c.TotalReaderCount != full.TotalReaderCount || (c.OriginSock == nil) != (full.OriginSock == nil) || ip != wantIP {
		t.Errorf("%q: %+v, encoding/json reads %+v, %v", body, c, full, err)
	}
	return ok
}

func TestScan(t *testing.T) {
	for body, want := range wellKnown() {
		if got := agreed(t, []byte(body)); got != want {
			t.Errorf("%.200q: scanned %v, want %v", body, got, want)
		}
	}
	b, _ := scanBody([]byte(`{"event":{"id":"r-7","time":"2026-01-02T03:04:05.678901234+01:00","prev":3}}`))
	if b.event.ID != "r-7" || *b.event.Prev != 3 || !b.event.Time.Equal(time.Date(2026, 1, 2, 2, 4, 5, 678901234, time.UTC)) {
		t.Errorf("%+v", b.event)
	}
	c, ok := scanChanged([]byte(`{"originSock":{"Peer_ip":"a"}}`))
	if ok {
		t.Errorf("%+v", c)
	}
}

// FuzzScan: what the scanner reads is what encoding/json reads.
func FuzzScan(f *testing.F) {
	for body := range wellKnown() {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) { agreed(t, body) })
}
