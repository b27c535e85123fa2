package webfile

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/fact"
)

// Config configures a Server. Start from DefaultConfig.
type Config struct {
	// Root is the directory that is served (http.rootPath). Default "./www".
	Root string
	// Virtual serves other directories under a first level of their own (http.virtualPath), by that name.
	Virtual map[string]string
	// DirMenu lists directories without an index file (http.dirMenu). Default true.
	DirMenu bool
	// NotFound is the body of a 404, in HTML (http.notFound).
	NotFound string
	// CharSet of text (http.charSet). Default "utf-8".
	CharSet string
	// NoStore are endings of names that nobody may cache (http.forbidCacheSuffix). Default none.
	NoStore []string
	// Vhost names the virtual host of a request, which is a level below each root (general.enableVhost). Default nil: there
	// are none.
	Vhost func(r *http.Request) string
	// AllowCrossDomains echoes Origin (http.allow_cross_domains). Default true.
	AllowCrossDomains bool
	// Downloads are the directories below which Download serves (api.downloadRoot). Default "./www".
	Downloads []string
	// MaxGrants bounds the verdicts that are remembered. Default 100,000.
	MaxGrants int
	// MaxEntries bounds a listing. Default 10,000.
	MaxEntries int
	// Patience is how long a client may take nothing. Default 30 s.
	Patience time.Duration
	// Address returns where a request comes from. Default: its RemoteAddr.
	Address func(r *http.Request) (ip string, port int)
	// SessionID names the connection of a request. Default: "".
	SessionID func(r *http.Request) string
}

// DefaultConfig returns the defaults that are stated on the fields.
func DefaultConfig() Config {
	return Config{
		Root: "./www", DirMenu: true, CharSet: "utf-8", AllowCrossDomains: true, Downloads: []string{"./www"},
		NotFound:  "<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1></body></html>",
		MaxGrants: 100_000, MaxEntries: 10_000, Patience: 30 * time.Second,
		Address: remote, SessionID: func(*http.Request) string { return "" },
	}
}

// Gate decides who may see what. No lock is held while it is asked.
type Gate interface {
	// Access asks about one request. header are those of the request, Host among them.
	Access(ctx context.Context, q fact.FileAccess, header http.Header) Verdict
}

// Verdict is an answer of a Gate.
type Verdict struct {
	Allowed bool
	Message string // why not; the client may read it
	// Path is the directory that the verdict covers; "": that of the request.
	Path string
	// Life is how long the verdict holds for this visitor; 0: for this request.
	Life time.Duration
}

// ParseVirtual reads http.virtualPath: "name,path;name,path". Names have no case. What is no pair is left out.
func ParseVirtual(s string) map[string]string {
	m := map[string]string{}
	for pair := range strings.SplitSeq(s, ";") {
		name, dir, ok := strings.Cut(pair, ",")
		name, dir = strings.ToLower(strings.Trim(strings.TrimSpace(name), "/")), strings.TrimSpace(dir)
		if ok && dir != "" && visible(name) && !strings.Contains(name, "/") {
			m[name] = dir
		}
	}
	return m
}

// ParseList reads a list with a separator; empty entries are left out.
func ParseList(s, sep string) (out []string) {
	for v := range strings.SplitSeq(s, sep) {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// visible says whether a name may be shown.
func visible(name string) bool {
	return name != "" && name[0] != '.' && !strings.ContainsAny(name, "\x00\\")
}

// Limits of what is asked for, in bytes.
const (
	maxPath   = 4096
	maxParams = 8 << 10
)

// target is what a path names.
type target struct {
	root string // directory
	name string // below root, with slashes; "." for root itself
	url  string // path of the URL
	top  bool   // the root of everything
}

// file is the absolute path.
func (t *target) file() string {
	file, err := filepath.Abs(filepath.Join(t.root, filepath.FromSlash(t.name)))
	if err != nil {
		return t.name
	}
	return file
}

// resolve finds out what a path names; false: nothing that could be served.
func (c *Config) resolve(r *http.Request) (t target, ok bool) {
	p := r.URL.Path
	if len(p) > maxPath || len(r.URL.RawQuery) > maxParams || !strings.HasPrefix(p, "/") {
		return t, false
	}
	t = target{root: c.Root, url: p}
	rest := strings.TrimSuffix(p[1:], "/")
	t.top = rest == ""
	if !t.top {
		for i, part := range strings.Split(rest, "/") {
			if !visible(part) && (i > 0 || part != ".well-known") {
				return t, false
			}
		}
		first, below, _ := strings.Cut(rest, "/")
		if dir, ok := c.Virtual[strings.ToLower(first)]; ok {
			t.root, rest = dir, below
		}
	}
	if c.Vhost != nil {
		host := c.Vhost(r)
		if !visible(host) || strings.Contains(host, "/") {
			return t, false
		}
		rest = strings.TrimSuffix(host+"/"+rest, "/")
	}
	if t.name = rest; rest == "" {
		t.name = "."
	}
	return t, true
}

// remote is the address of the connection.
func remote(r *http.Request) (ip string, port int) {
	host, p, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr, 0
	}
	port, _ = strconv.Atoi(p)
	return host, port
}

// look says what a name below a root is. What is neither a regular file nor a directory does not exist: opening a pipe or a
// device would wait, or do something.
func look(root, name string) (os.FileInfo, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	info, err := dir.Stat(name)
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = os.ErrNotExist
	}
	return info, err
}

// open opens a regular file below a root, of which look has said that it is one.
func open(root, name string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenInRoot(root, name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		return f, info, nil
	}
	_ = f.Close()
	return nil, nil, os.ErrNotExist
}
