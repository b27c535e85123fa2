package api

import (
	"crypto/sha256"
	_ "embed" // the document
	"encoding/hex"
	"net/http"
)

// openAPIDocument describes /api/v1 in OpenAPI 3.1.
//
//go:embed openapi.json
var openAPIDocument []byte

// openAPI serves the document.
func (c *v1Call) openAPI() error {
	sum := sha256.Sum256(openAPIDocument)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	h := c.w.Header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "no-cache")
	if c.r.Header.Get("If-None-Match") == tag {
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", "application/json")
	_, _ = c.w.Write(openAPIDocument) // the client has left
	return nil
}
