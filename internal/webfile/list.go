package webfile

import (
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
)

// entry is a line of a listing.
type entry struct {
	name, note string
	dir        bool
	size       int64
}

// list writes the listing of a directory, as ZLMediaKit's: the path, the way up, then what there is, by name.
func list(w http.ResponseWriter, r *http.Request, cfg *Config, t *target) {
	entries, more, err := read(cfg, t)
	if err != nil {
		http.Error(w, "the directory can't be read", http.StatusInternalServerError)
		return
	}
	base := "" // of the links: relative to the directory, whether the path ends in a slash or not
	up := "../"
	if !strings.HasSuffix(t.url, "/") {
		base, up = path.Base(t.url)+"/", "./"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n<title>File Index</title>\n</head>\n<body>\n<h1>Index of %s</h1>\n<ul>\n", html.EscapeString(t.url))
	if !t.top {
		fmt.Fprintf(&b, "<li><a href=\"/\">root</a></li>\n<li><a href=\"%s\">../</a></li>\n", up)
	}
	for i, e := range entries {
		slash, size := "", ""
		if e.dir {
			slash = "/"
		} else {
			size = " (" + sizeOf(e.size) + ")"
		}
		// "./" before the name: one with a colon must not be taken for a scheme.
		link := (&url.URL{Path: "./" + base + e.name + slash}).EscapedPath()
		fmt.Fprintf(&b, "<li><span>%d</span>\t<a href=\"%s\">%s%s</a>%s</li>\n", i, html.EscapeString(link),
			html.EscapeString(e.note+e.name), slash, size)
	}
	if more {
		b.WriteString("<li>and more</li>\n")
	}
	b.WriteString("</ul>\n</body>\n</html>\n")
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, b.String()) // a client that left
	}
}

// read returns what there is to be seen in a directory, ordered by name, and whether there is more.
func read(cfg *Config, t *target) (out []entry, more bool, err error) {
	root, err := os.OpenRoot(t.root)
	if err != nil {
		return nil, false, err
	}
	defer root.Close()
	dir, err := root.Open(t.name)
	if err != nil {
		return nil, false, err
	}
	defer dir.Close()
	for len(out) < cfg.MaxEntries {
		batch, err := dir.ReadDir(min(256, cfg.MaxEntries-len(out)))
		for _, d := range batch {
			e, ok := show(root, t.name, d)
			if _, hidden := cfg.Virtual[strings.ToLower(e.name)]; ok && (!t.top || !hidden) {
				out = append(out, e)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, false, err
		}
	}
	more = len(out) == cfg.MaxEntries
	if t.top {
		for name := range cfg.Virtual {
			out = append(out, entry{name: name, note: "virtual path: ", dir: true})
		}
	}
	slices.SortFunc(out, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return out, more, nil
}

// show returns the line of one entry; false: it is not to be seen.
func show(root *os.Root, dir string, d fs.DirEntry) (entry, bool) {
	name := d.Name()
	if !visible(name) {
		return entry{}, false
	}
	info, err := d.Info()
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		info, err = root.Stat(path.Join(dir, name)) // fails when it leads out
	}
	if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
		return entry{}, false
	}
	return entry{name: name, dir: info.IsDir(), size: info.Size()}, true
}

// sizeOf is a number of bytes as people read it.
func sizeOf(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%dB", n)
	case n < 1<<20:
		return fmt.Sprintf("%.2fKB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.2fMB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.2fGB", float64(n)/(1<<30))
}
