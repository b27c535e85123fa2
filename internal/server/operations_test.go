package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/pubtool"
	"github.com/hookline/hookline/internal/server"
)

const operationsSecret = "operations-secret-0123456789"

// inDir starts a server whose state is in dir.
func inDir(t *testing.T, dir, more string) (s *server.Server, stop func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.ini")
	text := "[general]\nlisten_ip=127.0.0.1\nmediaServerId=test\n[protocol]\nenable_hls=0\n[rtmp]\nport=65535\nhandshakeSecond=600\nkeepAliveSecond=600\n[rtsp]\nport=65535\n[http]\nport=65535\n[server]\nstate_dir=" +
		dir + "\n[api]\nsecret=" + operationsSecret + "\n" + more
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := server.Start(t.Context(), server.Options{ConfigPath: file, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

// call asks /api/v1.
func call(t *testing.T, s *server.Server, method, path, body string) (status int, m map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.HTTPAddr()+"/api/v1"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+operationsSecret)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 0 {
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatalf("%s: %s", path, b)
		}
	}
	return res.StatusCode, m
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s: still not", what)
}

func streams(m map[string]any) []map[string]any {
	var out []map[string]any
	list, _ := m["streams"].([]any)
	for _, e := range list {
		out = append(out, e.(map[string]any))
	}
	return out
}

// A backup that was made while a publisher was live, restored: everything up to it is there, the publication that was
// live is ended, a new epoch begins, and a consumer that goes on with its cursor is told.
func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	s, stop := inDir(t, dir, "")
	ctx, cancel := context.WithCancel(t.Context())
	published := make(chan struct{})
	go func() {
		defer close(published)
		_, _ = pubtool.Run(ctx, pubtool.Config{
			URL: "rtmp://" + s.RTMPAddr() + "/live/s", Streams: 3, Quiet: true, Realtime: true, Timeout: patience,
		})
	}()
	var snap map[string]any
	until(t, "three streams are live", func() bool {
		_, snap = call(t, s, "GET", "/snapshot", "")
		live := 0
		for _, e := range streams(snap) {
			if _, ok := e["readers"]; ok && len(e["schemas"].([]any)) > 0 && e["publisher"].(map[string]any)["protocol"] == "rtmp" {
				live++
			}
		}
		return live == 3
	})
	status, made := call(t, s, "POST", "/backups", `{"name":"b1"}`)
	if status != http.StatusCreated || made["last"].(float64) < 7 || made["bytes"].(float64) == 0 {
		t.Fatalf("%d %v", status, made)
	}
	if status, _ := call(t, s, "POST", "/backups", `{"name":"b1"}`); status != http.StatusConflict {
		t.Errorf("the same name again: %d", status)
	}
	cancel()
	<-published
	until(t, "nothing is live", func() bool { _, m := call(t, s, "GET", "/snapshot", ""); return len(streams(m)) == 0 })
	_, after := call(t, s, "GET", fmt.Sprintf("/events?cursor=%.0f", snap["eventsCursor"]), "")
	if len(after["events"].([]any)) < 6 {
		t.Errorf("%v", after)
	}
	stop()

	restored := filepath.Join(t.TempDir(), "restored")
	if err := os.CopyFS(restored, os.DirFS(made["path"].(string))); err != nil {
		t.Fatal(err)
	}
	s, stop = inDir(t, restored, "")
	defer stop()
	_, fresh := call(t, s, "GET", "/snapshot", "")
	if fresh["epoch"].(float64) <= snap["epoch"].(float64) || len(streams(fresh)) != 0 || fresh["source"] != snap["source"] {
		t.Errorf("%v after %v", fresh, snap)
	}
	_, ended := call(t, s, "GET", "/events?type=on_publication_ended", "")
	crashed := 0
	for _, e := range ended["events"].([]any) {
		if e.(map[string]any)["compensation"] == true {
			crashed++
		}
	}
	if crashed != 3 {
		t.Errorf("%d publications were ended for the backup, want 3", crashed)
	}
	// The original had gone on: the consumer has read what is not here.
	_, page := call(t, s, "GET", fmt.Sprintf("/events?cursor=%.0f&epoch=%.0f", after["cursor"], after["epoch"]), "")
	gap, _ := page["gap"].(map[string]any)
	first := page["events"].([]any)[0].(map[string]any)
	if gap["reason"] != "reset" || first["epoch"] != fresh["epoch"] {
		t.Errorf("gap %v, first %v", gap, first)
	}
	if status, _ := call(t, s, "DELETE", "/backups/b1", ""); status != http.StatusNotFound {
		t.Errorf("a backup of the original is listed: %d", status)
	}
	for path, member := range map[string]string{"/queues": "queues", "/gaps": "gaps", "/backups": "backups", "/journal": "retention"} {
		if status, m := call(t, s, "GET", path, ""); status != 200 || m[member] == nil {
			t.Errorf("%s: %d %v", path, status, m)
		}
	}
}
