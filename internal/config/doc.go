// Package config reads ZLMediaKit's config.ini, and Hookline's own keys beside it, and keeps the current snapshot.
//
// Contract.
//
//   - Every key of ZLMediaKit is known with its default, its type and the values it may have; so are Hookline's own,
//     which live in sections of their own ([server], [journal], [delivery], [limits]) so that tools made for
//     ZLMediaKit round-trip the file. Keys that nobody knows are kept, can be read and cause a warning.
//   - A value that can't be used is refused with a *ValueError that says where it stands and what is allowed. All
//     errors of a file are reported together, as Errors.
//   - Later wins: built-in default, file, environment (HOOKLINE_<SECTION>_<KEY>). What the environment sets can't be
//     changed by the file or by Set while the process lives.
//   - A *Config is immutable. Whoever reads it twice reads the same.
//   - Load and Check only read. Open may write: the file itself when it is missing, a secret in place of the
//     published one, and identity.ini in the state directory. Set writes the file.
//   - Store is safe for concurrent use. Subscribers of OnChange are called one after another, in the order of the
//     changes, by the goroutine that made the change; they must not call Set or Reload.
//   - A file that can't be used never replaces a configuration that works: Reload keeps the old one and returns
//     the error.
//
// The file is parsed here and not by gopkg.in/ini.v1, because a write-back must leave every byte alone that it does
// not have to change (order, comments, spacing, CRLF, BOM), errors need line numbers, and ZLMediaKit's rules differ
// in small ways: ';' and '#' inside a value are part of it, quotes and backslashes mean nothing, and a key without
// '=' is an empty value. document keeps each line as it was, so that parsing and writing is the identity.
package config
