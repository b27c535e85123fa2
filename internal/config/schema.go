package config

import (
	"fmt"
	"slices"
	"strings"
)

// Schemas is a set of ZLMediaKit's schemas. The empty set contains every schema (hook.stream_changed_schemas).
type Schemas struct {
	names []string
}

// schemaNames returns the schemas that there are.
func schemaNames() []string { return []string{"rtsp", "rtmp", "fmp4", "ts", "hls", "hls.fmp4"} }

// ParseSchemas parses a list that is separated by slashes.
func ParseSchemas(s string) (Schemas, error) {
	var out Schemas
	for name := range strings.SplitSeq(s, "/") {
		name = strings.Trim(name, blank)
		if name == "" {
			continue
		}
		if !slices.Contains(schemaNames(), name) {
			return Schemas{}, fmt.Errorf("config: no such schema: %q", name)
		}
		out.names = append(out.names, name)
	}
	return out, nil
}

// Contains says whether schema is in the set, or the set is empty.
func (s Schemas) Contains(schema string) bool {
	return len(s.names) == 0 || slices.Contains(s.names, schema)
}
