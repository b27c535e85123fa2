package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/cloudevents/sdk-go/v2/event"
	sdkhttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"pgregory.net/rapid"

	"github.com/hookline/hookline/event"
)

// cloudEventVector is a file in testdata/cloudevents: event and body of a hook, and both as a CloudEvent.
type cloudEventVector struct {
	Event      event.Envelope  `json:"event"`
	HookIndex  uint64          `json:"hook_index"`
	Body       json.RawMessage `json:"body"`
	CloudEvent json.RawMessage `json:"cloudevent"`
}

// cloudEventVectors reads all files, by name.
func cloudEventVectors(t testing.TB) map[string]cloudEventVector {
	t.Helper()
	paths, err := filepath.Glob("testdata/cloudevents/on_*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	all := map[string]cloudEventVector{}
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		var v cloudEventVector
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		all[strings.TrimSuffix(filepath.Base(p), ".json")] = v
	}
	return all
}

func compact(t testing.TB, raw []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return b.String()
}

// TestCloudEventVectors: the golden files. -update computes "cloudevent" anew from the other members.
func TestCloudEventVectors(t *testing.T) {
	types := map[event.Type]bool{}
	for name, v := range cloudEventVectors(t) {
		t.Run(name, func(t *testing.T) {
			types[v.Event.Type] = true
			got := event.AppendCloudEvent(nil, &v.Event, v.HookIndex, v.Body)
			again := v
			again.CloudEvent = got
			golden(t, "testdata/cloudevents/"+name+".json", pretty(t, again))
			if *update {
				return
			}
			if compact(t, got) != compact(t, v.CloudEvent) {
				t.Errorf("encoded as\n%s\nnot as\n%s", got, v.CloudEvent)
			}
			checkSDK(t, v, structured(t, got))
			e, index, body, err := event.ParseCloudEvent(v.CloudEvent)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(e, v.Event) || index != v.HookIndex {
				t.Errorf("parsed as\n%+v %d, not\n%+v %d", e, index, v.Event, v.HookIndex)
			}
			checkBody(t, v, body)
		})
	}
	for _, typ := range event.Types() {
		if !types[typ] {
			t.Errorf("no vector of %s", typ)
		}
	}
}

// checkBody says whether body is that of v with the two members of the sender.
func checkBody(t *testing.T, v cloudEventVector, body []byte) {
	t.Helper()
	var want, got map[string]json.RawMessage
	if err := json.Unmarshal(v.Body, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	var source string
	if err := json.Unmarshal(got["mediaServerId"], &source); err != nil || source != v.Event.Source {
		t.Errorf("mediaServerId %s", got["mediaServerId"])
	}
	if string(got["hook_index"]) != fmt.Sprint(v.HookIndex) {
		t.Errorf("hook_index %s", got["hook_index"])
	}
	delete(got, "hook_index")
	delete(got, "mediaServerId")
	if !maps.EqualFunc(want, got, func(a, b json.RawMessage) bool { return compact(t, a) == compact(t, b) }) {
		t.Errorf("body %s, want %s", body, v.Body)
	}
}

// structured reads a request as a receiver with the reference SDK does.
func structured(t *testing.T, body []byte) *sdk.Event {
	t.Helper()
	req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	req.Header.Set("Content-Type", event.ContentTypeCloudEvent)
	e, err := sdkhttp.NewEventFromHTTPRequest(req)
	if err != nil {
		t.Fatalf("the reference SDK can't read %s: %v", body, err)
	}
	return e
}

// checkSDK says whether the reference SDK sees in e what v says.
func checkSDK(t *testing.T, v cloudEventVector, e *sdk.Event) {
	t.Helper()
	if err := e.Validate(); err != nil {
		t.Errorf("the reference SDK finds it invalid: %v", err)
	}
	want := map[string]any{"partitionkey": v.Event.Stream, "epoch": fmt.Sprintf("%020d", v.Event.Epoch), "hookindex": fmt.Sprintf("%020d", v.HookIndex)}
	text := func(name, s string) {
		if s != "" {
			want[name] = s
		}
	}
	number := func(name string, n *uint64) {
		if n != nil {
			want[name] = fmt.Sprintf("%020d", *n)
		}
	}
	text("incarnation", v.Event.Incarnation)
	text("publication", v.Event.Publication)
	text("replay", v.Event.Replay)
	number("prev", v.Event.Prev)
	number("after", v.Event.After)
	if v.Event.Seq != 0 {
		number("sequence", &v.Event.Seq)
	}
	for name, set := range map[string]bool{"compensation": v.Event.Compensation, "late": v.Event.Late} {
		if set {
			want[name] = true
		}
	}
	if v.Event.Stream == "" {
		want["partitionkey"] = event.CloudEventSource(v.Event.Source)
	}
	got := maps.Clone(e.Extensions())
	if s, ok := got["gap"].(string); ok {
		var gaps []event.Gap
		if err := json.Unmarshal([]byte(s), &gaps); err != nil || !reflect.DeepEqual(gaps, v.Event.Gap) {
			t.Errorf("gap %s: %v", s, err)
		}
		delete(got, "gap")
	} else if len(v.Event.Gap) > 0 {
		t.Error("no gap")
	}
	subject := v.Event.Stream
	if s := strings.ReplaceAll(subject, "\ufffe", "\ufffd"); s != subject {
		subject, want["partitionkey"] = s, s
		if got["streamb64"] == nil {
			t.Error("no streamb64")
		}
		delete(got, "streamb64")
	}
	if !maps.Equal(got, want) {
		t.Errorf("extensions %v, want %v", got, want)
	}
	if e.ID() != v.Event.ID || e.Type() != "hookline."+string(v.Event.Type) || e.Subject() != subject ||
		e.Source() != event.CloudEventSource(v.Event.Source) || !e.Time().Equal(v.Event.Time) ||
		e.DataContentType() != "application/json" || e.SpecVersion() != "1.0" {
		t.Errorf("attributes: %s", e)
	}
	checkBody(t, v, e.Data())
}

func TestCloudEventBatch(t *testing.T) {
	all := cloudEventVectors(t)
	names := slices.Sorted(maps.Keys(all))
	var batch event.CloudEventBatch
	for range 2 { // the second time in the memory of the first
		batch.Reset()
		for i, name := range names {
			v := all[name]
			if i%2 == 0 {
				batch.Add(&v.Event, v.HookIndex, v.Body)
			} else {
				batch.AddEncoded(event.AppendCloudEvent(nil, &v.Event, v.HookIndex, v.Body))
			}
			if size, n := batch.Size(), len(batch.Bytes()); size != n || batch.Len() != i+1 {
				t.Fatalf("Size %d, Len %d, %d bytes", size, batch.Len(), n)
			}
		}
	}
	req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(batch.Bytes()))
	req.Header.Set("Content-Type", event.ContentTypeCloudEventBatch)
	theirs, err := sdkhttp.NewEventsFromHTTPRequest(req)
	if err != nil || len(theirs) != len(names) {
		t.Fatalf("the reference SDK reads %d events: %v", len(theirs), err)
	}
	ours, err := event.ParseCloudEventBatch(batch.Bytes(), event.BatchLimit{})
	if err != nil || len(ours) != len(names) {
		t.Fatalf("%d events: %v", len(ours), err)
	}
	for i, name := range names {
		checkSDK(t, all[name], &theirs[i])
		if !reflect.DeepEqual(ours[i].Envelope, all[name].Event) || ours[i].HookIndex != all[name].HookIndex {
			t.Errorf("%s: %+v", name, ours[i])
		}
		checkBody(t, all[name], ours[i].Body)
	}
	small := []string{"on_publish.rtmp_push", "on_server_exited"}
	batch.Reset()
	for _, name := range small {
		v := all[name]
		batch.Add(&v.Event, v.HookIndex, v.Body)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, batch.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/cloudevents/batch.json", append(pretty.Bytes(), '\n'))
}

func TestEmptyBatch(t *testing.T) {
	var batch event.CloudEventBatch
	if string(batch.Bytes()) != "[]" || batch.Size() != 2 || batch.Len() != 0 {
		t.Errorf("%s", batch.Bytes())
	}
	got, err := event.ParseCloudEventBatch([]byte(" [ \n] "), event.BatchLimit{})
	if err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestBatchLimits(t *testing.T) {
	one := string(event.AppendCloudEvent(nil, &event.Envelope{ID: "a", Type: "t", Time: time.Unix(1, 0)}, 1, nil))
	big := strings.Replace(one, `"data":{`, `"data":{"x":"`+strings.Repeat("a", event.MaxCloudEventBytes)+`",`, 1)
	for _, tt := range []struct {
		name, in string
		lim      event.BatchLimit
		want     error
		text     string
	}{
		{"as many as may be", "[" + one + "," + one + "]", event.BatchLimit{Events: 2}, nil, ""},
		{"one too many", "[" + one + "," + one + "]", event.BatchLimit{Events: 1}, event.ErrTooLarge, "more than 1 events"},
		{"too many bytes", "[" + one + "]", event.BatchLimit{Bytes: len(one)}, event.ErrTooLarge, "bytes"},
		{"a big event in it", "[" + one + "," + big + "]", event.BatchLimit{}, event.ErrTooLarge, "event 2"},
		{"default count", "[" + strings.Repeat(one+",", event.DefaultBatchEvents) + one + "]", event.BatchLimit{}, event.ErrTooLarge, "more than 1000"},
		{"null in it", "[null]", event.BatchLimit{}, event.ErrNotJSON, "event 1"},
		{"an array in it", "[" + one + ",[" + one + "]]", event.BatchLimit{}, event.ErrNotJSON, "event 2"},
		{"one event, no array", one, event.BatchLimit{}, event.ErrNotJSON, ""},
		{"empty", "", event.BatchLimit{}, event.ErrNotJSON, ""},
		{"cut off", "[" + one, event.BatchLimit{}, event.ErrNotJSON, ""},
		{"two arrays", "[" + one + "][]", event.BatchLimit{}, event.ErrNotJSON, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := event.ParseCloudEventBatch([]byte(tt.in), tt.lim)
			if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, _, _, err := event.ParseCloudEvent([]byte(big)); !errors.Is(err, event.ErrTooLarge) {
		t.Errorf("a big event alone: %v", err)
	}
}

// parseCases are objects made from one that is good by setting (or, with "", removing) members. They are the seeds of
// the fuzz target, too.
func parseCases() []parseCase {
	return []parseCase{
		{name: "good"},
		{name: "unknown attribute", set: map[string]string{"traceparent": `"00-x-y-01"`, "other": `{"a":[1,"]"]}`}},
		{name: "unknown type of event", set: map[string]string{"type": `"hookline.on_something_new"`}},
		{name: "null is absent", set: map[string]string{"subject": `null`, "sequence": `null`, "gap": `null`, "late": `null`}},
		{name: "Booleans as strings", set: map[string]string{"late": `"true"`, "compensation": `"false"`}},
		{name: "no datacontenttype", set: map[string]string{"datacontenttype": ""}},
		{name: "datacontenttype with parameters", set: map[string]string{"datacontenttype": `"application/json; charset=utf-8"`}},
		{name: "datacontenttype with suffix", set: map[string]string{"datacontenttype": `"application/vnd.x+json"`}},
		{name: "data_base64", set: map[string]string{"data": "", "data_base64": `"eyJhIjoxfQ=="`}},
		{name: "time with another zone", set: map[string]string{"time": `"2026-01-02T05:04:05+02:00"`}},
		{name: "numbers without zeros", set: map[string]string{"sequence": `"7"`, "hookindex": `"42"`, "epoch": `"1"`}},
		{name: "escaped names and values", set: map[string]string{"subj\\u0065ct": `"a\/b\u00e4\ud83d\ude00"`, "subject": ""}},
		{name: "no specversion", set: map[string]string{"specversion": ""}, fails: "specversion"},
		{name: "version 0.3", set: map[string]string{"specversion": `"0.3"`}, fails: "specversion"},
		{name: "version as a number", set: map[string]string{"specversion": `1.0`}, fails: "specversion"},
		{name: "no id", set: map[string]string{"id": ""}, fails: "id"},
		{name: "empty id", set: map[string]string{"id": `""`}, fails: "id"},
		{name: "id is a number", set: map[string]string{"id": `5`}, fails: "id"},
		{name: "ID in capitals is not id", set: map[string]string{"id": "", "ID": `"a"`}, fails: "id"},
		{name: "type of another product", set: map[string]string{"type": `"com.example.x"`}, fails: "type"},
		{name: "type without a name", set: map[string]string{"type": `"hookline."`}, fails: "type"},
		{name: "source of another product", set: map[string]string{"source": `"https://example.com/x"`}, fails: "source"},
		{name: "source with two segments", set: map[string]string{"source": `"/hookline/a/b"`}, fails: "source"},
		{name: "source with a broken escape", set: map[string]string{"source": `"/hookline/%zz"`}, fails: "source"},
		{name: "no time", set: map[string]string{"time": ""}, fails: "time"},
		{name: "time is a number", set: map[string]string{"time": `1767323045`}, fails: "time"},
		{name: "time without zone", set: map[string]string{"time": `"2026-01-02T05:04:05"`}, fails: "time"},
		{name: "time whose year has five digits in UTC", set: map[string]string{"time": `"9999-12-31T23:59:59-01:00"`}, fails: "time"},
		{name: "time before the year 0 in UTC", set: map[string]string{"time": `"0000-01-01T00:00:00+01:00"`}, fails: "time"},
		{name: "sequence zero", set: map[string]string{"sequence": `"00000000000000000000"`}, fails: "sequence"},
		{name: "sequence as a number", set: map[string]string{"sequence": `7`}, fails: "sequence"},
		{name: "sequence beyond 64 bits", set: map[string]string{"sequence": `"99999999999999999999"`}, fails: "sequence"},
		{name: "sequence too long", set: map[string]string{"sequence": `"000000000000000000001"`}, fails: "sequence"},
		{name: "negative prev", set: map[string]string{"prev": `"-1"`}, fails: "prev"},
		{name: "epoch of 64 bits", set: map[string]string{"epoch": `"18446744073709551615"`}, fails: "epoch"},
		{name: "late is a number", set: map[string]string{"late": `1`}, fails: "late"},
		{name: "gap is a list", set: map[string]string{"gap": `[]`}, fails: "gap"},
		{name: "gap is not JSON", set: map[string]string{"gap": `"x"`}, fails: "gap"},
		{name: "streamb64 is not base64", set: map[string]string{"streamb64": `"!"`}, fails: "streamb64"},
		{name: "data is XML", set: map[string]string{"datacontenttype": `"application/xml"`}, fails: "datacontenttype"},
		{name: "datacontenttype broken", set: map[string]string{"datacontenttype": `"json"`}, fails: "datacontenttype"},
		{name: "no data", set: map[string]string{"data": ""}, fails: "data"},
		{name: "data is null", set: map[string]string{"data": `null`}, fails: "data"},
		{name: "data is a list", set: map[string]string{"data": `[]`}, fails: "data"},
		{name: "data is text", set: map[string]string{"data": `"{}"`}, fails: "data"},
		{name: "both kinds of data", set: map[string]string{"data_base64": `"e30="`}, fails: "data_base64"},
		{name: "data_base64 is not JSON", set: map[string]string{"data": "", "data_base64": `"AAAA"`}, fails: "data_base64"},
		{name: "given twice", set: map[string]string{"i\\u0064": `"b"`}, fails: "id"},
	}
}

type parseCase struct {
	name  string
	set   map[string]string // member to JSON; "" removes
	fails string            // the attribute that is refused
}

func (c parseCase) object() []byte {
	members := map[string]string{
		"specversion": `"1.0"`, "id": `"a"`, "source": `"/hookline/lab"`, "type": `"hookline.on_play"`,
		"subject": `"v/a/s"`, "time": `"2026-01-02T03:04:05Z"`, "datacontenttype": `"application/json"`, "data": `{"a":1}`,
		"sequence": `"00000000000000000007"`, "prev": `"00000000000000000000"`, "epoch": `"00000000000000000001"`,
		"hookindex": `"00000000000000000042"`,
	}
	maps.Copy(members, c.set)
	var b strings.Builder
	sep := "\t{ "
	for _, k := range slices.Sorted(maps.Keys(members)) {
		if members[k] != "" {
			fmt.Fprintf(&b, "%s\"%s\" :\n%s", sep, k, members[k])
			sep = " ,\r\n"
		}
	}
	return []byte(b.String() + " } ")
}

func TestParseCloudEvent(t *testing.T) {
	for _, tt := range parseCases() {
		t.Run(tt.name, func(t *testing.T) {
			_, _, body, err := event.ParseCloudEvent(tt.object())
			if tt.fails == "" {
				if err != nil || compact(t, body) != `{"a":1}` {
					t.Errorf("body %s, error %v", body, err)
				}
				return
			}
			var of *event.CloudEventError
			if !errors.As(err, &of) || of.Attribute != tt.fails || of.Reason == "" {
				t.Errorf("error %v, want one about %s", err, tt.fails)
			}
		})
	}
	for _, bad := range []string{"", " ", "x", "null", "[]", `"a"`, "1", "{}{}", "{", `{"a":1,}`} {
		if _, _, _, err := event.ParseCloudEvent([]byte(bad)); !errors.Is(err, event.ErrNotJSON) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	many := parseCase{set: map[string]string{}}
	for i := range event.MaxCloudEventMembers {
		many.set[fmt.Sprintf("x%d", i)] = "0"
	}
	if _, _, _, err := event.ParseCloudEvent(many.object()); !errors.Is(err, event.ErrTooLarge) {
		t.Errorf("too many members: %v", err)
	}
}

func TestParsedValues(t *testing.T) {
	c := parseCase{set: map[string]string{
		"subj\\u0065ct": `"a\/b\u00e4\ud83d\ude00"`, "subject": "", "late": `"true"`, "time": `"2026-01-02T05:04:05.5+02:00"`,
		"source": `"/hookline/%e6%9c%ba a+b"`, "gap": `"[]"`,
	}}
	e, index, _, err := event.ParseCloudEvent(c.object())
	if err != nil {
		t.Fatal(err)
	}
	zero := uint64(0)
	want := event.Envelope{
		ID: "a", Type: event.OnPlay, Source: "机 a+b", Epoch: 1, Stream: "a/bä😀", Seq: 7, Prev: &zero,
		Time: time.Date(2026, 1, 2, 3, 4, 5, 500_000_000, time.UTC), Late: true,
	}
	if !reflect.DeepEqual(e, want) || index != 42 {
		t.Errorf("%+v %d, want %+v", e, index, want)
	}
}

// anyEnvelope draws an envelope with whatever a name may hold.
func anyEnvelope(t *rapid.T) event.Envelope {
	pointer := func(name string) *uint64 {
		if rapid.Bool().Draw(t, name+" present") {
			return nil
		}
		n := rapid.Uint64().Draw(t, name)
		return &n
	}
	name := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	word := rapid.StringMatching(`[a-z0-9-]{1,40}`)
	// The reference SDK takes a subject of white space for an empty one; a stream key always has its slashes.
	key := rapid.OneOf(rapid.Just(""), rapid.Map(name, func(s string) string { return "v/a/" + s }))
	e := event.Envelope{
		ID: word.Draw(t, "id"), Type: rapid.SampledFrom(event.Types()).Draw(t, "type"), Source: name.Draw(t, "source"),
		Incarnation: word.Draw(t, "incarnation"), Epoch: rapid.Int64Min(0).Draw(t, "epoch"), Stream: key.Draw(t, "stream"),
		Publication: word.Draw(t, "publication"), Seq: rapid.Uint64().Draw(t, "seq"), Prev: pointer("prev"), After: pointer("after"),
		Time:         time.Unix(rapid.Int64Range(0, 250_000_000_000).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC(),
		Compensation: rapid.Bool().Draw(t, "compensation"), Late: rapid.Bool().Draw(t, "late"), Replay: word.Draw(t, "replay"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "gaps") {
		e.Gap = append(e.Gap, event.Gap{
			From: rapid.Uint64().Draw(t, "from"), To: rapid.Uint64().Draw(t, "to"), Count: rapid.Uint64().Draw(t, "count"),
			Types: []event.Type{event.OnPlay, event.OnPublish}, Reason: rapid.StringMatching(`[a-z]+`).Draw(t, "reason"),
		})
	}
	return e
}

// TestCloudEventProperties: any event comes back as it was, and the reference SDK finds nothing wrong with it.
func TestCloudEventProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := anyEnvelope(rt)
		index := rapid.Uint64().Draw(rt, "index")
		body, err := json.Marshal(map[string]any{"s": rapid.String().Draw(rt, "s"), "f": rapid.Float64Range(-1e300, 1e300).Draw(rt, "f")})
		if err != nil {
			rt.Fatal(err)
		}
		raw := event.AppendCloudEvent([]byte("x"), &e, index, body)
		if raw[0] != 'x' {
			rt.Fatal("dst was changed")
		}
		got, gotIndex, _, err := event.ParseCloudEvent(raw[1:])
		if err != nil {
			rt.Fatalf("%v: %s", err, raw)
		}
		if !reflect.DeepEqual(got, e) || gotIndex != index {
			rt.Fatalf("%+v\nbecame\n%+v", e, got)
		}
		ev := structured(t, raw[1:])
		if err := ev.Validate(); err != nil {
			rt.Fatalf("%v: %s", err, raw)
		}
		for _, s := range []string{ev.Subject(), ev.Extensions()["partitionkey"].(string)} {
			if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 || r == math.MaxUint16 }) {
				rt.Fatalf("%q in an attribute", s)
			}
		}
	})
}

func TestBodiesOfHooks(t *testing.T) {
	e := event.Envelope{ID: "a", Type: event.OnPlay, Source: "\x00\"", Time: time.Unix(1, 0)}
	for in, want := range map[string]string{
		"":               `{"hook_index":7,"mediaServerId":"\u0000\""}`,
		"{}":             `{"hook_index":7,"mediaServerId":"\u0000\""}`,
		" {\n} ":         `{"hook_index":7,"mediaServerId":"\u0000\""}`,
		"null":           `{"hook_index":7,"mediaServerId":"\u0000\""}`,
		"{\"a\":{ }\n}":  `{"a":{ },"hook_index":7,"mediaServerId":"\u0000\""}`,
		`{ "a" : "}" } `: `{"a" : "}","hook_index":7,"mediaServerId":"\u0000\""}`,
	} {
		_, _, body, err := event.ParseCloudEvent(event.AppendCloudEvent(nil, &e, 7, []byte(in)))
		if err != nil || string(body) != want {
			t.Errorf("%q became %s, %v", in, body, err)
		}
	}
}

// TestSourcesDiffer: ids that differ have sources that differ, each of one path segment.
func TestSourcesDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"", "a", "A", "a/b", "a%2Fb", "a%2fb", "a b", "a+b", "a?b", "a#b", "机房", "\xff", "..", "a\x00"} {
		s := event.CloudEventSource(id)
		if other, ok := seen[s]; ok {
			t.Errorf("%q and %q have the source %s", id, other, s)
		}
		seen[s] = id
		if strings.ContainsAny(s[len(event.SourcePrefix):], "/?# ") {
			t.Errorf("source %s", s)
		}
	}
}

func FuzzParseCloudEvent(f *testing.F) {
	for _, c := range parseCases() {
		f.Add(c.object())
		f.Add([]byte("[" + string(c.object()) + "]"))
	}
	for _, v := range cloudEventVectors(f) {
		f.Add([]byte(v.CloudEvent))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		e, index, body, err := event.ParseCloudEvent(in)
		if err == nil {
			checkParsed(t, e, index, body)
		}
		list, err := event.ParseCloudEventBatch(in, event.BatchLimit{Events: 10})
		if err == nil && len(list) > 10 {
			t.Fatal("too many events")
		}
		for _, ce := range list {
			checkParsed(t, ce.Envelope, ce.HookIndex, ce.Body)
		}
	})
}

// checkParsed: what was accepted is whole and can be written again.
func checkParsed(t *testing.T, e event.Envelope, index uint64, body []byte) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil {
		t.Fatalf("body %s: %v", body, err)
	}
	again := event.AppendCloudEvent(nil, &e, index, body)
	e2, index2, _, err := event.ParseCloudEvent(again)
	if err != nil {
		t.Fatalf("%v: %s", err, again)
	}
	third := event.AppendCloudEvent(nil, &e2, index2, body)
	if string(third) != string(again) {
		t.Fatalf("%s\nbecame\n%s", again, third)
	}
}

func BenchmarkAppendCloudEvent(b *testing.B) {
	v := cloudEventVectors(b)["on_publish.rtmp_push"]
	body := []byte(compact(b, v.Body))
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = event.AppendCloudEvent(buf[:0], &v.Event, v.HookIndex, body)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkParseCloudEvent(b *testing.B) {
	raw := []byte(compact(b, cloudEventVectors(b)["on_publish.rtmp_push"].CloudEvent))
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := event.ParseCloudEvent(raw); err != nil {
			b.Fatal(err)
		}
	}
}
