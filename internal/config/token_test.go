package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func TestTokenLines(t *testing.T) {
	sum := sha256.Sum256([]byte("hunter2-hunter2-hunter2"))
	o := open(t, "[tokens]\ngrafana=read:hunter2-hunter2-hunter2\ndeploy=admin:sha256:"+hex.EncodeToString(sum[:])+"\n")
	got := o.Config().API.Tokens
	if len(got) != 2 || got[0] != (Token{"grafana", false, sum}) || got[1] != (Token{"deploy", true, sum}) {
		t.Errorf("%+v", got)
	}
	for k, v := range o.Config().All() {
		if strings.Contains(v, "hunter2") || strings.HasPrefix(k, tokenPrefix) && v != masked {
			t.Errorf("%s = %s", k, v)
		}
	}
	if n, err := o.Set(map[string]string{"tokens.deploy": "read:hunter2-hunter2-hunter2"}); n != 0 || err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%d %v", n, err)
	}
	o.rewrite(t, "[tokens]\n")
	if err := o.Reload(); err != nil || len(o.Config().API.Tokens) != 0 {
		t.Error(err)
	}
	for _, bad := range []string{
		"a=hunter2-hunter2-hunter2", "a=read:hunter2", "a=write:hunter2-hunter2-hunter2", "a=read:sha256:hunter2",
		"a=read:hunter2 hunter2 hunter2", "A b=read:hunter2-hunter2-hunter2", "a=",
	} {
		o.rewrite(t, "[tokens]\n"+bad+"\n")
		err := o.Reload()
		if !errors.As(err, new(Errors)) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
