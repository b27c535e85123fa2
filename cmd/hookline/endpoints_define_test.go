package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDefineEndpoints(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("whsec_x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	line := `{"name":"billing","state":"up","lag":3}`
	f := newFakeAPI(t, map[string][]string{
		"POST /api/v1/endpoints": {line}, "PATCH /api/v1/endpoints/billing": {line}, "DELETE /api/v1/endpoints/billing": {""},
		"DELETE /api/v1/endpoints/none": {"404 there is no endpoint of this name"},
	})
	for _, c := range []struct {
		args, asked, out, err string
	}{
		{
			"endpoints add billing https://x/ events=on_play,on_publish header.X-A=b secret=@" + file,
			`POST /api/v1/endpoints {"events":"on_play,on_publish","header.X-A":"b","name":"billing","secret":"whsec_x","url":"https://x/"}`,
			"billing is up, lag 3", "",
		},
		{"endpoints set billing rate=5 bearer=", `PATCH /api/v1/endpoints/billing {"bearer":null,"rate":"5"}`, "billing is up", ""},
		{"endpoints rm billing", "DELETE /api/v1/endpoints/billing", "billing is removed", ""},
		{"endpoints rm none", "DELETE /api/v1/endpoints/none", "", "no endpoint of this name"},
		{"endpoints set billing hunter2", "", "", "KEY=VALUE"},
		{"endpoints set billing secret=@/none/hunter2", "", "", "secret:"},
	} {
		f.asked = nil
		out, err := f.run(strings.Fields(c.args)...)
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v", c.args, err)
		}
		if !strings.Contains(out, c.out) || strings.Join(f.asked, "\n") != c.asked {
			t.Errorf("%s: asked %q, printed %q", c.args, f.asked, out)
		}
	}
}
