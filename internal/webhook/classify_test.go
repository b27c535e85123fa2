package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"
)

// bodies is the case table of 200 answers; it also seeds the fuzz target.
func bodies() []struct {
	body  string
	class Class
	code  int
	msg   string
} {
	return []struct {
		body  string
		class Class
		code  int
		msg   string
	}{
		{`{"code":0,"msg":"success"}`, Accepted, 0, "success"},
		{"\xef\xbb\xbf \r\n\t{ \"code\" : 0 }\n", Accepted, 0, ""},
		{`{"code":-5,"msg":"拒绝"}`, Accepted, -5, "拒绝"},
		{`{"msg":"a\nbé","code":401}`, Accepted, 401, "a\nbé"},
		{`{"code":0,"close":true,"x":{"code":9},"y":[1]}`, Accepted, 0, ""},
		{`{"code":0.0}`, Accepted, 0, ""},
		{`{"code":1e0}`, Accepted, 1, ""},
		{`{"code":-0}`, Accepted, 0, ""},
		{`{"code":9223372036854775807}`, Accepted, 1<<63 - 1, ""},
		{`{"code":18446744073709551615}`, Accepted, 1<<63 - 1, ""},
		{`{"code":-9223372036854775808}`, Accepted, -1 << 63, ""},
		{`{"code":1234567890123}`, Accepted, 1234567890123, ""},
		{`{"code":7,"code":0}`, Accepted, 0, ""},
		{`{"code":0,"msg":null}`, Accepted, 0, ""},
		{`{"code":0,"msg":5}`, Accepted, 0, ""},
		{`{"code":0} trailing`, Accepted, 0, ""},
		{`{"code":0,"msg":"` + strings.Repeat("é", 400) + `"}`, Accepted, 0, strings.Repeat("é", 256) + "…"},
		{`{"code":0,"code":"0"}`, Rejected, 0, ""},
		{`{"code":"0"}`, Rejected, 0, ""},
		{`{"code":0.5}`, Rejected, 0, ""},
		{`{"code":1e400}`, Rejected, 0, ""},
		{`{"code":1e30}`, Rejected, 0, ""},
		{`{"code":null}`, Rejected, 0, ""},
		{`{"code":true}`, Rejected, 0, ""},
		{`{"code":[0]}`, Rejected, 0, ""},
		{`{"code":00}`, Rejected, 0, ""},
		{`{"code":-}`, Rejected, 0, ""},
		{`{"code":+1}`, Rejected, 0, ""},
		{`{"Code":0}`, Rejected, 0, ""},
		{`{"msg":"no code"}`, Rejected, 0, ""},
		{`{}`, Rejected, 0, ""},
		{``, Rejected, 0, ""},
		{`null`, Rejected, 0, ""},
		{`0`, Rejected, 0, ""},
		{`"code"`, Rejected, 0, ""},
		{`[{"code":0}]`, Rejected, 0, ""},
		{`{"code":0`, Rejected, 0, ""},
		{`{"code":0,}`, Rejected, 0, ""},
		{`{"code":0 "a":1}`, Rejected, 0, ""},
		{`{code:0}`, Rejected, 0, ""},
		{"{\"code\":0,\"msg\":\"a\nb\"}", Rejected, 0, ""},
		{`<html><body>{"code":0}</body></html>`, Rejected, 0, ""},
		{"\x1f\x8b\x08gzip", Rejected, 0, ""},
		{strings.Repeat(`{"a":`, 12000), Rejected, 0, ""},
	}
}

func TestClassifyBody(t *testing.T) {
	for _, tc := range bodies() {
		class, code, msg := Classify(Reply{Status: 200, Body: []byte(tc.body)})
		if class != tc.class || code != tc.code || class == Accepted && msg != tc.msg || class == Rejected && msg == "" {
			t.Errorf("%.60q: %v %d %q", tc.body, class, code, msg)
		}
	}
}

func TestClassifyStatus(t *testing.T) {
	ok := []byte(okBody)
	for status, want := range map[int]Class{
		101: Rejected, 200: Accepted, 201: Rejected, 204: Rejected, 301: Rejected, 304: Rejected, 400: Rejected,
		401: Rejected, 404: Rejected, 408: Retryable, 410: Gone, 413: Rejected, 425: Retryable, 429: Retryable,
		500: Retryable, 502: Retryable, 503: Retryable, 599: Retryable, 999: Retryable,
	} {
		if got, _, msg := Classify(Reply{Status: status, Body: ok}); got != want || msg == "" {
			t.Errorf("%d: %v %q", status, got, msg)
		}
	}
	if got, _, msg := Classify(Reply{Err: errors.New("boom")}); got != Retryable || msg != "boom" {
		t.Error(got, msg)
	}
}

// FuzzClassify holds the fast path against encoding/json.
func FuzzClassify(f *testing.F) {
	for _, tc := range bodies() {
		f.Add([]byte(tc.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		class, code, msg := classifyBody(body)
		if !utf8.ValidString(msg) || len(msg) > maxMessage+len("…") {
			t.Errorf("message %q", msg)
		}
		gotCode, gotMsg, fast := scanReply(body)
		if !fast {
			return
		}
		var want map[string]any
		if err := json.NewDecoder(strings.NewReader(string(body))).Decode(&want); err != nil {
			t.Fatalf("%q: the fast path took what encoding/json refuses: %v", body, err)
		}
		if n, ok := want["code"].(float64); !ok || int(n) != gotCode || class != Accepted || code != gotCode {
			t.Errorf("%q: code %d, want %v", body, gotCode, want["code"])
		}
		if s, _ := want["msg"].(string); s != gotMsg {
			t.Errorf("%q: msg %q, want %q", body, gotMsg, s)
		}
	})
}

func TestScanReplyTakesTheUsualAnswers(t *testing.T) {
	for _, body := range []string{okBody, `{"code": 0}`, "{\n\t\"code\" : 0,\n\t\"msg\" : \"成功\"\n}\n", `{"code":0,"close":true,"time":null}`} {
		if _, _, ok := scanReply([]byte(body)); !ok {
			t.Errorf("%s: not on the fast path", body)
		}
	}
}

func TestCloseAnswer(t *testing.T) {
	for body, want := range map[string]bool{
		`{"code":0,"close":true}`: true, `{"close":1}`: true, `{"close":0.5}`: true, `{"close":false}`: false,
		`{"close":0}`: false, `{"close":"true"}`: false, `{"close":"1"}`: false, `{"close":null}`: false,
		`{"close":[]}`: false, `{}`: false, ``: false, `null`: false,
	} {
		if got := CloseAnswer([]byte(body)); got != want {
			t.Errorf("%s: %v", body, got)
		}
	}
}

func TestPublicOnly(t *testing.T) {
	for addr, want := range map[string]bool{
		"93.184.216.34": true, "8.8.8.8": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"64:ff9b::808:808": true, "2002:808:808::1": true, "172.32.0.1": true, "100.128.0.1": true,
		"127.0.0.1": false, "127.255.0.9": false, "::1": false, "::ffff:127.0.0.1": false, "0.0.0.0": false, "::": false,
		"0.1.2.3": false, "10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false,
		"169.254.169.254": false, "::ffff:169.254.169.254": false, "fe80::1": false, "fe80::1%eth0": false,
		"100.64.0.1": false, "100.127.255.255": false, "fd00:ec2::254": false, "fc00::1": false, "fec0::1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b::a00:1": false, "64:ff9b:1::808:808": false,
		"2002:7f00:1::": false, "2002:c0a8:101::1": false, "2001:0:808:808::1": false, "::7f00:1": false, "::808:808": false,
		"224.0.0.1": false, "239.1.1.1": false, "ff02::1": false, "255.255.255.255": false, "240.0.0.1": false,
		"192.0.0.8": false, "192.0.2.1": false, "198.18.0.1": false, "198.51.100.1": false, "203.0.113.1": false,
		"2001:db8::1": false, "3fff::1": false, "100::1": false, "5f00::1": false,
	} {
		err := PublicOnly(t.Context(), "tcp", netip.AddrPortFrom(netip.MustParseAddr(addr), 80))
		if (err == nil) != want {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestGuardSeesTheDialledAddress(t *testing.T) {
	r := answers(t, true, okWire())
	ap := netip.MustParseAddrPort(r.ln.Addr().String())
	var seen []netip.AddrPort
	c := newClient(t, Config{Guard: func(_ context.Context, _ string, a netip.AddrPort) error {
		seen = append(seen, a)
		return nil
	}})
	mapped := "http://" + netip.AddrPortFrom(netip.AddrFrom16(ap.Addr().As16()), ap.Port()).String() + "/"
	wantAccepted(t, send(t, c, mapped, patience))
	if len(seen) != 1 || seen[0] != ap {
		t.Errorf("the guard saw %v", seen)
	}
	public := newClient(t, Config{Guard: PublicOnly})
	_, port, _ := strings.Cut(ap.String(), ":")
	for _, to := range []string{r.url("/"), "http://localhost:" + port + "/", mapped} {
		if got := send(t, public, to, patience); !errors.Is(got.Err, ErrRefused) {
			t.Errorf("%s: %v", to, got.Err)
		}
	}
}
