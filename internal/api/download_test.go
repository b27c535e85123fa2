package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
)

// fakeFiles tells what it was asked for.
type fakeFiles struct{}

func (fakeFiles) Download(w http.ResponseWriter, _ *http.Request, file, saveName string, trusted bool) {
	w.WriteHeader(http.StatusPartialContent)
	_, _ = fmt.Fprintf(w, "%s|%s|%v", file, saveName, trusted)
}

// TestDownloadFile: whoever knows the secret needs no leave; for anybody else the files decide. Guessing is limited.
func TestDownloadFile(t *testing.T) {
	synctest.Test(t, guessing) // in virtual time: who guesses may again after a while
}

func guessing(t *testing.T) {
	w := newWorld(t, func(d *Deps) { d.Files = fakeFiles{} })
	get := func(from, query string) string {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/index/api/downloadFile?"+query, nil)
		r.RemoteAddr = from
		rec := httptest.NewRecorder()
		w.api.ServeHTTP(rec, r)
		return fmt.Sprint(rec.Code, " ", rec.Body)
	}
	const inside, outside = "127.0.0.1:1", "10.9.9.9:1"
	q := "file_path=" + url.QueryEscape("/a b.mp4")
	for _, tc := range [][3]string{
		{inside, q + "&save_name=c.mp4&secret=" + testSecret, "206 /a b.mp4|c.mp4|true"},
		{inside, q, "206 /a b.mp4||false"},
		{inside, q + "&secret=wrong", "206 /a b.mp4||false"},
		{outside, q + "&secret=" + testSecret, "206 /a b.mp4||false"}, // not in http.allow_ip_range
	} {
		if got := get(tc[0], tc[1]); got != tc[2] {
			t.Errorf("%s: %s, want %s", tc[1], got, tc[2])
		}
	}
	if got := get(inside, ""); !strings.Contains(got, `"code":-300`) {
		t.Error(got)
	}
	for range 40 {
		get(inside, q+"&secret=wrong")
	}
	if got := get(inside, q+"&secret="+testSecret); got != "206 /a b.mp4||false" {
		t.Errorf("after many wrong secrets: %s", got)
	}
	if none := newWorld(t); none.api.calls["/index/api/downloadfile"] != nil {
		t.Error("there is a call without files")
	}
}
