package decision

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
)

// MaxAccessLife bounds how long a verdict about files may be remembered.
const MaxAccessLife = 366 * 24 * time.Hour

// AccessVerdict is the outcome of on_http_access.
type AccessVerdict struct {
	Outcome fact.Outcome // Outcome.Allowed is the verdict
	// Path is the directory that the verdict covers; "": that of the request.
	Path string
	// Life is how long the verdict holds for this visitor; 0: for this request.
	Life time.Duration
}

// accessBody is the body of on_http_access: with a member for each header of the request.
type accessBody struct {
	fact.FileAccess
	header http.Header
	common
}

// MarshalJSON implements json.Marshaler.
func (b *accessBody) MarshalJSON() ([]byte, error) {
	m := make(map[string]any, len(b.header)+12)
	for name, values := range b.header {
		sep := ", "
		if name == "Cookie" {
			sep = "; "
		}
		m["header."+name] = strings.Join(values, sep)
	}
	m["ip"], m["port"], m["id"] = b.IP, b.Port, b.ID
	m["path"], m["file_path"], m["is_dir"], m["params"] = b.Path, b.FilePath, b.IsDir, b.Params
	m["hook_index"], m["mediaServerId"], m["event"] = b.HookIndex, b.MediaServerID, b.Event
	return json.Marshal(m)
}

// Access asks on_http_access. header are those of the request, Host among them.
func (s *Service) Access(ctx context.Context, q fact.FileAccess, header http.Header) AccessVerdict {
	cfg := s.cfg.Load()
	refusal := ""
	if cfg.Files != nil && !cfg.Files(q.IP) {
		refusal = "Your ip is not allowed to access the service."
	}
	body := accessBody{FileAccess: q, header: header}
	a := s.ask(ctx, cfg, question{
		hook: event.OnHTTPAccess, share: q.IP, slots: s.files, refusal: refusal, body: &body, common: &body.common,
	})
	v := AccessVerdict{Outcome: a.outcome}
	if a.body == nil {
		return v
	}
	var reply struct {
		Err    json.RawMessage `json:"err"`
		Path   json.RawMessage `json:"path"`
		Second json.RawMessage `json:"second"`
	}
	if err := json.Unmarshal(a.body, &reply); err != nil {
		return AccessVerdict{Outcome: fact.Outcome{By: ByFailed, Message: err.Error(), RequestID: v.Outcome.RequestID}}
	}
	if why := text(reply.Err); why != "" {
		v.Outcome.Allowed, v.Outcome.Message = false, why
	}
	v.Path = text(reply.Path)
	if n, err := strconv.ParseFloat(text(reply.Second), 64); err == nil && n >= 1 {
		v.Life = time.Duration(math.Min(n, MaxAccessLife.Seconds())) * time.Second
	}
	return v
}

// text returns a JSON value as text: a string without its quotes, null and nothing as "".
func text(raw json.RawMessage) string {
	var v string
	if json.Unmarshal(raw, &v) == nil || len(raw) == 0 {
		return v
	}
	return string(raw)
}
