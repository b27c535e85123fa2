package receivertest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
)

// Hook is a hook of a plain ZLMediaKit.
type Hook struct {
	Type event.Type
	Body map[string]any
}

// ZLMediaKit makes the hooks of a plain ZLMediaKit named "zlm" and sends them straight to an [http.Handler]: in any order, twice, not
// at all. It is safe for concurrent use.
type ZLMediaKit struct {
	h http.Handler

	mu       sync.Mutex
	index    int64
	sessions int
	streams  map[string]*plainStream
}

type plainStream struct {
	session, params string
	create          int64
	files           int
}

// NewZLMediaKit returns a sender for h.
func NewZLMediaKit(h http.Handler) *ZLMediaKit {
	return &ZLMediaKit{h: h, streams: map[string]*plainStream{}}
}

// Restart makes it another process: hook_index and sessions begin anew, and nothing is published. It returns the on_server_started.
func (z *ZLMediaKit) Restart(config map[string]string) Hook {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.index, z.sessions, z.streams = 0, 0, map[string]*plainStream{}
	body := map[string]any{}
	for k, v := range config {
		body[k] = v
	}
	return Hook{event.OnServerStarted, body}
}

// Publish makes the on_publish of a new publisher of a stream, "live/a", with these parameters in its URL. What is made for the
// stream after that is of this publication.
func (z *ZLMediaKit) Publish(name, params string) Hook {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.sessions++
	st := &plainStream{session: fmt.Sprintf("%d-%d", z.sessions, 10+z.sessions%7), params: params, create: time.Now().Unix()}
	z.streams[name] = st
	return st.make(event.OnPublish, name, map[string]any{
		"schema": "rtmp", "protocol": "rtmp", "ip": "192.0.2.1", "port": 1000 + z.sessions, "id": st.session, "originType": 1, "originTypeStr": "rtmp_push",
	})
}

// Changed makes the register or unregister of a schema.
func (z *ZLMediaKit) Changed(name, schema string, regist bool) Hook {
	z.mu.Lock()
	defer z.mu.Unlock()
	st := z.stream(name)
	body := map[string]any{"schema": schema, "regist": regist}
	if regist {
		for k, v := range map[string]any{
			"createStamp": st.create, "aliveSecond": max(time.Now().Unix()-st.create, 0), "bytesSpeed": 0, "totalBytes": 0, "readerCount": 0,
			"totalReaderCount": 0, "originType": 1, "originTypeStr": "rtmp_push", "originUrl": "rtmp://__defaultVhost__/" + name,
			"isRecordingMP4": false, "isRecordingHLS": false, "tracks": []any{},
			"originSock": map[string]any{"peer_ip": "192.0.2.1", "peer_port": 1000, "local_ip": "192.0.2.2", "local_port": 1935, "identifier": st.session},
		} {
			body[k] = v
		}
	}
	return st.make(event.OnStreamChanged, name, body)
}

// Record makes the on_record_mp4 of a file that was opened at a time and is so long.
func (z *ZLMediaKit) Record(name string, opened time.Time, length time.Duration) Hook {
	z.mu.Lock()
	defer z.mu.Unlock()
	st := z.stream(name)
	file := fmt.Sprintf("%s-%d.mp4", opened.UTC().Format("2006-01-02-15-04-05"), st.files)
	st.files++
	return st.make(event.OnRecordMP4, name, map[string]any{
		"start_time": opened.Unix(), "time_len": length.Seconds(), "file_size": 1000, "file_path": "/www/record/" + name + "/" + file,
		"file_name": file, "folder": "/www/record/" + name + "/", "url": "record/" + name + "/" + file,
	})
}

// Report makes the on_flow_report of the publisher.
func (z *ZLMediaKit) Report(name string) Hook {
	z.mu.Lock()
	defer z.mu.Unlock()
	st := z.stream(name)
	return st.make(event.OnFlowReport, name, map[string]any{
		"schema": "rtmp", "protocol": "rtmp", "ip": "192.0.2.1", "port": 1000, "id": st.session, "totalBytes": 1000,
		"duration": max(time.Now().Unix()-st.create, 0), "player": false,
	})
}

func (z *ZLMediaKit) stream(name string) *plainStream {
	st := z.streams[name]
	if st == nil {
		st = &plainStream{session: "0-0", create: time.Now().Unix()}
		z.streams[name] = st
	}
	return st
}

func (st *plainStream) make(t event.Type, name string, body map[string]any) Hook {
	_, place := split(name)
	for k, v := range place {
		body[k] = v
	}
	body["params"] = st.params
	return Hook{t, body}
}

// Attempt returns a hook as the next attempt sends it: with a hook_index of its own.
func (z *ZLMediaKit) Attempt(h Hook) Request {
	z.mu.Lock()
	defer z.mu.Unlock()
	body := map[string]any{"mediaServerId": "zlm", "hook_index": z.index}
	z.index++
	for k, v := range h.Body {
		body[k] = v
	}
	return Request{Path: "/index/hook/" + string(h.Type), Body: encode(body)}
}

// Send sends a hook once. To send it again is a retry: the same, with another hook_index.
func (z *ZLMediaKit) Send(h Hook) Answer {
	q := z.Attempt(h)
	req := httptest.NewRequestWithContext(context.Background(), http.MethodPost, q.Path, bytes.NewReader(q.Body))
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	z.h.ServeHTTP(w, req)
	return answerOf(w)
}
