package receiver

import (
	"testing"

	"github.com/hookline/hookline/event"
)

func TestStraighten(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"as upstream", `{"hook_index":7,"regist":true,"stream":"7"}`, `{"hook_index":7,"regist":true,"stream":"7"}`},
		{"numbers as text", `{"createStamp":"1795391185","time_len":"1.5","stream":"7"}`, `{"createStamp":1795391185,"stream":"7","time_len":1.5}`},
		{"whole numbers with a point", `{"duration":6.0,"file_size":"12.9"}`, `{"duration":6,"file_size":12}`},
		{"truth as text and as numbers", `{"player":"True","ready":1,"regist":"0"}`, `{"player":true,"ready":true,"regist":false}`},
		{
			"inside", `{"originSock":{"identifier":"2-11","peer_port":"1"},"port":"1","tracks":[{"codec_id":"2","loss":"-1.0"},null]}`,
			`{"originSock":{"identifier":"2-11","peer_port":1},"port":1,"tracks":[{"codec_id":2,"loss":-1.0},null]}`,
		},
		{"what is no number", `{"duration":"soon","player":"perhaps","port":"0x1","time_len":"NaN"}`, `{"duration":"soon","player":"perhaps","port":"0x1","time_len":"NaN"}`},
		{"too large", `{"duration":"1e300"}`, `{"duration":"1e300"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, got, err := readBody(event.OnStreamChanged, []byte(tt.in))
			if err != nil || string(got) != tt.want {
				t.Errorf("got %s, %v, want %s", got, err, tt.want)
			}
		})
	}
	if _, got, err := readBody(event.OnServerStarted, []byte(`{"hook.retry":"1","port":"1"}`)); err != nil || string(got) != `{"hook.retry":"1","port":"1"}` {
		t.Errorf("a configuration became %s, %v", got, err)
	}
	for _, bad := range []string{``, `null`, `[]`, `{"a":`} {
		if _, _, err := readBody(event.OnStreamChanged, []byte(bad)); err == nil {
			t.Errorf("%q is no object", bad)
		}
	}
}
