package config

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestTableIsSound(t *testing.T) {
	tab := newTable()
	if len(tab.names) != len(tab.keys) || len(tab.folds) != len(tab.keys) || len(tab.envs) != len(tab.keys) {
		t.Fatalf("%d keys, %d names, %d names in lower case, %d variables: some names are ambiguous",
			len(tab.keys), len(tab.names), len(tab.folds), len(tab.envs))
	}
	for i := range tab.keys {
		k := &tab.keys[i]
		if strings.Count(k.Name, ".") != 1 || k.Doc == "" || k.Allowed == "" || k.Kind == "" {
			t.Errorf("%s: incomplete: %+v", k.Name, k)
		}
		for _, v := range []string{k.Default, k.NoFile, k.shipped} {
			if (v != "" || k.Default == "") && k.check(v) != nil {
				t.Errorf("%s: %q is not allowed", k.Name, v)
			}
		}
		if !slices.Contains([]Hot{Now, New, Start}, k.Hot) {
			t.Errorf("%s: hot is %q", k.Name, k.Hot)
		}
		if k.Own && !k.Implemented {
			t.Errorf("%s: an own key without a feature", k.Name)
		}
	}
}

// recordedConfig returns the flattened configuration of a ZLMediaKit.
func recordedConfig(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Response struct {
			JSON struct {
				Data []map[string]string `json:"data"`
			} `json:"json"`
		} `json:"response"`
	}
	if err := json.Unmarshal(data, &doc); err == nil && len(doc.Response.JSON.Data) == 1 {
		return doc.Response.JSON.Data[0]
	}
	var flat map[string]any
	if err := json.Unmarshal(data, &flat); err != nil {
		t.Fatal(err)
	}
	delete(flat, "hook_index")
	delete(flat, "mediaServerId")
	out := map[string]string{}
	for key, v := range flat {
		s, ok := v.(string)
		if !ok {
			t.Fatalf("%s is not a string", key)
		}
		out[key] = s
	}
	return out
}

func TestKeysOfRecordedConfigs(t *testing.T) {
	// What the recorded server had set for itself.
	set := []string{
		"api.apiDebug", "api.secret", "general.flowThreshold", "general.listen_ip", "general.mediaServerId",
		"general.streamNoneReaderDelayMS", "hls.broadcastRecordTs", "hook.enable", "http.notFound", "http.port",
		"http.sslport", "protocol.continue_push_ms", "protocol.enable_hls_fmp4", "protocol.enable_mp4",
		"protocol.mp4_max_second", "rtmp.port", "rtp_proxy.port", "rtp_proxy.timeoutSec", "rtsp.port", "shell.port",
		"hook.alive_interval",
	}
	for _, file := range []string{"on_server_started.json", "getServerConfig.json"} {
		t.Run(file, func(t *testing.T) {
			tab := newTable()
			recorded := recordedConfig(t, file)
			for key, v := range recorded {
				k := tab.names[key]
				if k == nil {
					t.Errorf("%s is not known", key)
					continue
				}
				if err := k.check(v); err != nil {
					t.Errorf("%s: %q is not allowed: %v", key, v, err)
				}
				if slices.Contains(set, key) || k.Kind == KindURL {
					continue
				}
				off := k.Kind == KindPort && v == "0"
				if v != k.Default && v != k.shipped && !off {
					t.Errorf("%s: default is %q, recorded %q", key, k.Default, v)
				}
			}
			c, err := Load("", nil)
			if err != nil {
				t.Fatal(err)
			}
			for key := range c.All() {
				if _, ok := recorded[key]; !ok && !tab.names[key].Own {
					t.Errorf("%s is not a key of ZLMediaKit", key)
				}
			}
		})
	}
}

func TestAllowedValues(t *testing.T) {
	tests := []struct {
		key  string
		good []string
		bad  []string
	}{
		{"hook.enable", []string{"0", "1", "true", "FALSE"}, []string{"", "yes", "2", "on"}},
		{"hook.retry", []string{"0", "+3", "1000"}, []string{"", "-1", "1.5", "1001", "0x1", "1e1", "99999999999999999999"}},
		{"hook.timeoutSec", []string{"10", "0.5", "30.0"}, []string{"", "0", "-1", "inf", "nan", "1e3", "3601", "10s"}},
		{"hook.on_play", []string{"", "http://h", "https://u:p@h:1/p?a=b&c=d"}, []string{"h", "ftp://h", "http://", "http://a b"}},
		{"http.port", []string{"0", "80", "65535"}, []string{"", "-1", "65536", "http"}},
		{"rtp_proxy.port_range", []string{"30000-35000", "30000 - 30035", "30000-30010"}, []string{"", "30000", "30000-30002", "2-1", "0-100", "1-65536"}},
		{"general.listen_ip", []string{"::", "0.0.0.0", "127.0.0.1"}, []string{"", "localhost", "1.2.3"}},
		{"hook.stream_changed_schemas", []string{"", "rtmp", "rtsp/hls.fmp4"}, []string{"flv", "rtmp,rtsp"}},
		{"http.allow_ip_range", []string{"", "::1, 10.0.0.0/8"}, []string{"10.0.0", "10.0.0.2-10.0.0.1", "::1-10.0.0.1", "10.0.0.0/33"}},
		{"delivery.policy", []string{"default", "block", "skip"}, []string{"", "drop"}},
		{"delivery.concurrency", []string{"8", "64"}, []string{"7", "65"}},
		{"server.log_level", []string{"debug", "error"}, []string{"", "trace", "INFO+1"}},
		{"server.state_dir", []string{"./data"}, []string{"", "a\x00b"}},
		{"protocol.modify_stamp", []string{"0", "2"}, []string{"3"}},
		{"ffmpeg.cmd", []string{"%s -i %s %s"}, []string{"", "ffmpeg -i %s %s", "%s %s"}},
		{"general.mediaServerId", []string{"", "your_server_id"}, []string{strings.Repeat("x", 129), "a\x01"}},
		{"rtsp.rtpTransportType", []string{"-1", "2"}, []string{"-2", "3"}},
	}
	tab := newTable()
	for _, tt := range tests {
		k := tab.names[tt.key]
		if k == nil {
			t.Fatalf("%s is not known", tt.key)
		}
		for _, v := range tt.good {
			if err := k.check(v); err != nil {
				t.Errorf("%s = %q: %v", tt.key, v, err)
			}
		}
		for _, v := range tt.bad {
			if k.check(v) == nil {
				t.Errorf("%s = %q is allowed", tt.key, v)
			}
		}
	}
}
