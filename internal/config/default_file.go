package config

import "strings"

// defaultFile is what is written when the file is missing: every key with its default, section by section. The
// mediaServerId stays empty, for it is kept in the state directory.
func defaultFile(keys []Key) *document {
	var b strings.Builder
	b.WriteString("; Configuration of Hookline, in the form of ZLMediaKit's config.ini.\n")
	b.WriteString("; A comment needs a line of its own. Bools are 0 or 1. Any key can be overridden by the environment,\n")
	b.WriteString("; for example hook.on_play by HOOKLINE_HOOK_ON_PLAY. `hookline check-config FILE` checks this file.\n")
	for _, s := range sectionsOf(keys) {
		b.WriteString("\n; " + sectionDoc(s) + "\n[" + s + "]\n")
		for i := range keys {
			k := &keys[i]
			if name, ok := strings.CutPrefix(k.Name, s+"."); ok {
				b.WriteString("; " + describe(k) + "\n" + name + "=" + k.Default + "\n")
			}
		}
	}
	return parseDocument([]byte(b.String()))
}

// sectionsOf returns the sections in the order in which the keys first name them.
func sectionsOf(keys []Key) []string {
	var out []string
	seen := map[string]bool{}
	for i := range keys {
		section, _, _ := strings.Cut(keys[i].Name, ".")
		if !seen[section] {
			seen[section] = true
			out = append(out, section)
		}
	}
	return out
}

// describe is the comment above a key. What goes without saying is not said.
func describe(k *Key) string {
	switch k.Kind {
	case KindURL, KindString, KindBool, KindPath, KindPort:
		return k.Doc
	default:
		return k.Doc + " (" + k.Allowed + ")"
	}
}
